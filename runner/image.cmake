pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET "nettle>=3" "nettle<4")
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)

target_sources(kage-core PRIVATE
  image/builder.c image/built.c image/digest.c image/download.c image/image.c image/kernel.c
  image/look.c image/manifest.c image/progress.c image/remote.c image/rootfs.c image/store.c image/tiny.c
  image/verified.c)
target_link_libraries(kage-core PRIVATE PkgConfig::NETTLE)
# Only its headers: it is opened when it is first used (lazy/).
target_include_directories(kage-core PRIVATE ${CURL_INCLUDE_DIRS})

# The image builder, next to the programs as it will be once installed.
set(builder_files build-kernel build-tiny get-packages lean.config modules.conf unpack-kernel)
list(TRANSFORM builder_files PREPEND ${CMAKE_SOURCE_DIR}/image-builder/)
set(builder_folder ${CMAKE_BINARY_DIR}/share/kage/image-builder)

# The id of the image tiny: what this build would put into it. kage looks for the image under
# this name, so a new vmd means a new image and never a stale one.
set(image_id_folder ${CMAKE_CURRENT_BINARY_DIR}/generated)
set(image_id_inputs ${builder_files} $<TARGET_FILE:vmd> $<TARGET_FILE:sandbox-helper>)
add_custom_command(OUTPUT ${image_id_folder}/image_id.stamp
  BYPRODUCTS ${image_id_folder}/image_id.h
  COMMAND ${CMAKE_COMMAND} "-DFILES=${image_id_inputs}" -DHEADER=${image_id_folder}/image_id.h
    "-DCOPY=${builder_files}" -DCOPY_TO=${builder_folder}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/image/image_id.cmake
  COMMAND ${CMAKE_COMMAND} -E touch ${image_id_folder}/image_id.stamp
  DEPENDS ${builder_files} vmd sandbox-helper ${CMAKE_CURRENT_SOURCE_DIR}/image/image_id.cmake
  COMMENT "Naming the image tiny" VERBATIM)
add_custom_target(image-id DEPENDS ${image_id_folder}/image_id.stamp)
add_dependencies(kage-core image-id)
target_include_directories(kage-core PRIVATE ${image_id_folder})

# Where kage finds them from its own folder, in the build tree and when installed.
file(RELATIVE_PATH libexec_from_bin
  ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBEXECDIR}/kage)
file(RELATIVE_PATH data_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_DATADIR}/kage)
set_source_files_properties(image/builder.c PROPERTIES COMPILE_DEFINITIONS
  "KAGE_LIBEXEC_FROM_BIN=\"${libexec_from_bin}\";KAGE_DATA_FROM_BIN=\"${data_from_bin}\"")

# What builds other images is not part of tiny, so changing it makes no new one.
add_custom_target(image-recipes ALL
  COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/image-builder/build-rootfs ${builder_folder}/
  COMMAND ${CMAKE_COMMAND} -E copy_directory
    ${CMAKE_SOURCE_DIR}/image-builder/recipes ${builder_folder}/recipes)
add_dependencies(image-recipes image-id)
add_dependencies(kage-core image-recipes)

install(PROGRAMS ${CMAKE_SOURCE_DIR}/image-builder/build-rootfs
  ${CMAKE_SOURCE_DIR}/image-builder/build-kernel ${CMAKE_SOURCE_DIR}/image-builder/build-tiny
  ${CMAKE_SOURCE_DIR}/image-builder/get-packages ${CMAKE_SOURCE_DIR}/image-builder/unpack-kernel
  DESTINATION ${CMAKE_INSTALL_DATADIR}/kage/image-builder)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/image-builder/recipes
  DESTINATION ${CMAKE_INSTALL_DATADIR}/kage/image-builder)
install(FILES
  ${CMAKE_SOURCE_DIR}/image-builder/lean.config ${CMAKE_SOURCE_DIR}/image-builder/modules.conf
  DESTINATION ${CMAKE_INSTALL_DATADIR}/kage/image-builder)
