# The web terminal: who gets in, by plain clients; what its user sees, in a real browser. Tests skip
# and say why where node, npm, Chromium or python3-websockets is missing.
if(KAGE_TESTS)
  find_program(KAGE_TEST_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  if(KAGE_TEST_PYTHON)
    add_test(NAME web/access
      COMMAND ${KAGE_TEST_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/web/test_access.py)
  else()
    add_test(NAME web/access COMMAND sh -c "echo 'skipped: there is no /usr/bin/python3'; exit 77")
  endif()
  foreach(name browser vendor)
    add_test(NAME web/${name}
      COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/web/run.sh ${name}.mjs ${CMAKE_BINARY_DIR}/web-tests)
  endforeach()
  set_tests_properties(web/access web/browser web/vendor PROPERTIES
    LABELS "web;long" TIMEOUT 600 SKIP_RETURN_CODE 77 ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
  set_tests_properties(web/access web/browser PROPERTIES RUN_SERIAL TRUE)
endif()
