kage_unit_test(image kage-core)

if(KAGE_TESTS)
  target_include_directories(test_image PRIVATE ${CMAKE_BINARY_DIR}/runner/generated)

  # The scripts of image-builder on made-up kernels.
  add_test(NAME unit/image_builder
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_image_builder.sh ${CMAKE_SOURCE_DIR}/image-builder)
  set_tests_properties(unit/image_builder PROPERTIES LABELS unit TIMEOUT 120 SKIP_RETURN_CODE 77)
endif()
