# The web terminal: who gets in, by plain clients; what its user sees, in a real browser. Tests skip
# and say why where node, npm, Chromium or python3-websockets is missing.
if(KAGE_TESTS)
  kage_python_test(web/access web/test_access.py)
  foreach(name browser vendor)
    add_test(NAME web/${name}
      COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/web/run.sh ${name}.mjs ${CMAKE_BINARY_DIR}/web-tests)
  endforeach()
  set_tests_properties(web/access web/browser web/vendor PROPERTIES
    LABELS "web;long" TIMEOUT 600 SKIP_RETURN_CODE 77 ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
  set_tests_properties(web/access web/browser PROPERTIES RUN_SERIAL TRUE)
endif()
