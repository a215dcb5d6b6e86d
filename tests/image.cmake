kage_unit_test(image kage-core)

if(KAGE_TESTS)
  target_include_directories(test_image PRIVATE ${CMAKE_BINARY_DIR}/runner/generated)

  # The scripts of image-builder on made-up kernels.
  add_test(NAME unit/image_builder
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_image_builder.sh ${CMAKE_SOURCE_DIR}/image-builder)
  set_tests_properties(unit/image_builder PROPERTIES LABELS unit TIMEOUT 120 SKIP_RETURN_CODE 77)
endif()

# End to end: one from a server of the test's own, one with images built here, one with the lean
# kernel if it is there.
if(KAGE_TESTS)
  foreach(name downloads images lean)
    kage_python_test(e2e/${name} e2e/test_${name}.py)
    set_tests_properties(e2e/${name} PROPERTIES LABELS "e2e;long" TIMEOUT 900 RUN_SERIAL TRUE
      ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
  endforeach()
endif()
