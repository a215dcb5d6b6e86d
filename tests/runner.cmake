kage_unit_test(console kage-core)
kage_unit_test(qmp kage-core)
kage_unit_test(jail kage-core)
kage_unit_test(client kage-core)
kage_unit_test(output kage-core)
kage_unit_test(apply kage-core)
kage_unit_test(mask kage-core)
kage_unit_test(place kage-core)

# End to end: the built kage on a real QEMU. One CTest test per file, so that a failure names it.
if(KAGE_TESTS)
  foreach(name apply checkpoints language faults vms templates jobs check_host)
    kage_python_test(e2e/${name} e2e/test_${name}.py)
    set_tests_properties(e2e/${name} PROPERTIES LABELS e2e TIMEOUT 600 RUN_SERIAL TRUE
      ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
  endforeach()
  # It waits a minute and a half and needs next to nothing meanwhile, so others may run beside it.
  kage_python_test(e2e/quiet e2e/test_quiet.py)
  set_tests_properties(e2e/quiet PROPERTIES LABELS "e2e;long" TIMEOUT 600
    ENVIRONMENT "KAGE=$<TARGET_FILE:kage>")
endif()
