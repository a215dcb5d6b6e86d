kage_unit_test(exec kage-core)
kage_unit_test(copy kage-core)
if(KAGE_TESTS)
  target_link_libraries(test_copy PRIVATE PkgConfig::ARCHIVE)
endif()

find_program(KAGE_TEST_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(KAGE_TESTS AND KAGE_TEST_PYTHON)
  add_test(NAME e2e/exec
    COMMAND ${KAGE_TEST_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_exec.py)
  set_tests_properties(e2e/exec PROPERTIES LABELS e2e TIMEOUT 900 RUN_SERIAL TRUE
    ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
endif()
