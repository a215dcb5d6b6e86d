kage_unit_test(yaml kage-core)
kage_unit_test(yaml_suite kage-core PkgConfig::CJSON PkgConfig::YAML)
kage_unit_test(spec kage-core)
kage_unit_test(check kage-core PkgConfig::CJSON)

# A sanitizer's report is no finding: the golden files fit every build.
add_test(NAME golden/check
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/check/run.sh $<TARGET_FILE:kage>)
set_tests_properties(golden/check PROPERTIES LABELS golden TIMEOUT 120)

add_test(NAME golden/generated
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/generated.sh $<TARGET_FILE:kage>)
set_tests_properties(golden/generated PROPERTIES LABELS golden TIMEOUT 60)

add_test(NAME golden/pages
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/pages.sh $<TARGET_FILE:kage>)
set_tests_properties(golden/pages PROPERTIES LABELS golden TIMEOUT 60)

kage_python_test(golden/formats golden/formats.py $<TARGET_FILE:kage>)
kage_python_test(golden/documents golden/documents.py $<TARGET_FILE:kage>)
set_tests_properties(golden/documents PROPERTIES LABELS golden TIMEOUT 120)
kage_python_test(recall recall/recall.py $<TARGET_FILE:kage>)
set_tests_properties(golden/formats PROPERTIES LABELS golden TIMEOUT 600)
set_tests_properties(recall PROPERTIES LABELS "golden;long" TIMEOUT 600)

# Files that mean no good; the bar is processor time, so a busy machine does not matter.
kage_python_test(hostile/specs hostile/specs.py $<TARGET_FILE:kage>)
set_tests_properties(hostile/specs PROPERTIES LABELS hostile TIMEOUT 600)

# Two clients of `kage lsp`; without their programs the tests say that they are skipped.
find_program(NODE node)
if(NODE)
  add_test(NAME lsp/client
    COMMAND ${NODE} ${CMAKE_CURRENT_SOURCE_DIR}/lsp/client.js $<TARGET_FILE:kage>)
else()
  add_test(NAME lsp/client COMMAND sh -c "echo 'skipped: node is not here'; exit 77")
endif()
add_test(NAME lsp/neovim COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/lsp/neovim.sh $<TARGET_FILE:kage>)
set_tests_properties(lsp/client lsp/neovim PROPERTIES LABELS golden TIMEOUT 120
  SKIP_RETURN_CODE 77)

kage_python_test(agreement agreement/agreement.py $<TARGET_FILE:kage>)
set_tests_properties(agreement PROPERTIES LABELS "golden;long" TIMEOUT 600)
