kage_unit_test(exec kage-core)
kage_unit_test(copy kage-core)
if(KAGE_TESTS)
  target_link_libraries(test_copy PRIVATE PkgConfig::ARCHIVE)
endif()

if(KAGE_TESTS)
  kage_python_test(e2e/exec e2e/test_exec.py)
  set_tests_properties(e2e/exec PROPERTIES LABELS e2e TIMEOUT 900 RUN_SERIAL TRUE
    ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
endif()
