# Fuzzers. CTest runs each for a moment, on its seeds and on the same mutants every time, best with
# sanitizers. With libFuzzer they look for new ground: cmake --preset fuzz, then
# tests/fuzz_NAME -dict=… CORPUS SEEDS, with the dictionary and the seeds of the list below.
set(fuzz ${CMAKE_CURRENT_SOURCE_DIR}/fuzz)
set(golden ${CMAKE_CURRENT_SOURCE_DIR}/golden)
set(suite ${CMAKE_SOURCE_DIR}/specs)

if(KAGE_FUZZ)
  target_compile_options(kage_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(kage_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# kage_fuzzer(NAME RUNS DICTIONARY SEEDS...)
function(kage_fuzzer name runs dictionary)
  add_executable(fuzz_${name} fuzz/fuzz_${name}.c fuzz/fuzz.c)
  target_link_libraries(fuzz_${name} PRIVATE kage_flags kage-core PkgConfig::CJSON)
  set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(KAGE_FUZZ)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(fuzz_${name} PRIVATE fuzz/driver.c)
    add_test(NAME fuzz/${name}
      COMMAND fuzz_${name} -runs=${runs} -dict=${fuzz}/${dictionary}.dict ${ARGN})
    set_tests_properties(fuzz/${name} PROPERTIES LABELS fuzz TIMEOUT 600
      WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endif()
endfunction()

kage_fuzzer(spec 2000 spec ${golden}/check ${suite})
kage_fuzzer(plan 3000 spec ${suite} ${golden}/plan/specs)
kage_fuzzer(plan_file 3000 json ${golden}/plan ${golden}/plan/hosts)
kage_fuzzer(frame 20000 json ${fuzz}/seeds/frame)
kage_fuzzer(line 3000 json ${fuzz}/seeds/line)
kage_fuzzer(client 2000 json ${fuzz}/seeds/client)
kage_fuzzer(report 3000 json ${fuzz}/seeds/report)
kage_fuzzer(state 3000 json ${fuzz}/seeds/state)
kage_fuzzer(qemu 3000 json ${fuzz}/seeds/qemu)
