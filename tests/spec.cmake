kage_unit_test(yaml kage-core)
kage_unit_test(spec kage-core)
kage_unit_test(check kage-core)
target_link_libraries(test_check PRIVATE PkgConfig::CJSON)

# A sanitizer's report is no finding: the golden files fit every build.
add_test(NAME golden/check
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/check/run.sh $<TARGET_FILE:kage>)
set_tests_properties(golden/check PROPERTIES LABELS golden TIMEOUT 120)
