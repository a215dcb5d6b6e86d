kage_unit_test(seccomp_filter sandbox-policy)
kage_unit_test(sandbox_options sandbox-core)

# The hostile suite's part against the helper: one program runs the cases, one
# (the probe) is what they run inside. The probe has no sanitizer of its own: it
# makes every system call there is with nonsense for arguments.
if(KAGE_TESTS)
  set(dir ${CMAKE_CURRENT_LIST_DIR}/hostile/sandbox)
  add_executable(sandbox_probe ${dir}/probe.c ${dir}/probe_walk.c ${dir}/probe_conditions.c
    ${dir}/probe_rights.c ${dir}/probe_life.c ${CMAKE_SOURCE_DIR}/sandbox/policy.c)
  target_compile_definitions(sandbox_probe PRIVATE _GNU_SOURCE)
  target_compile_options(sandbox_probe PRIVATE -Wall -Wextra -Wno-unused-parameter)
  target_include_directories(sandbox_probe PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(sandbox_probe PRIVATE PkgConfig::SECCOMP)
  set_target_properties(sandbox_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

  add_executable(hostile_sandbox ${dir}/main.c ${dir}/box.c ${dir}/cases_calls.c
    ${dir}/cases_rights.c ${dir}/cases_closed.c ${dir}/cases_life.c)
  target_compile_definitions(hostile_sandbox PRIVATE
    KAGE_SANDBOX_HELPER="$<TARGET_FILE:sandbox-helper>"
    KAGE_SANDBOX_PROBE="$<TARGET_FILE:sandbox_probe>")
  target_link_libraries(hostile_sandbox PRIVATE kage_flags sandbox-policy cmocka util)
  add_dependencies(hostile_sandbox sandbox-helper sandbox_probe)
  set_target_properties(hostile_sandbox PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

  foreach(number h14 h15 h16 h17 h18 h19 h20 h22 h23 h26 h27 h29 life)
    add_test(NAME hostile/sandbox-${number} COMMAND hostile_sandbox ${number}_*)
    add_test(NAME hostile/waiting-sandbox-${number} COMMAND hostile_sandbox --wait ${number}_*)
    set_tests_properties(hostile/sandbox-${number} hostile/waiting-sandbox-${number}
      PROPERTIES LABELS hostile TIMEOUT 120 SKIP_RETURN_CODE 77)
  endforeach()
endif()

add_test(NAME unit/sandbox_docs COMMAND ${CMAKE_COMMAND} -DTOOL=$<TARGET_FILE:sandbox-filters>
  -DDOC=${CMAKE_SOURCE_DIR}/docs/security.md -P ${CMAKE_CURRENT_LIST_DIR}/unit/sandbox_docs.cmake)
set_tests_properties(unit/sandbox_docs PROPERTIES LABELS unit TIMEOUT 30)
