# vmd: its parts by cmocka, the protocol by a client that shares no code with it.
kage_unit_test(guest_files vmd-core)
kage_unit_test(guest_options vmd-core)
kage_unit_test(guest_stream vmd-core)
kage_unit_test(guest_token vmd-core)

if(KAGE_TESTS)
  foreach(area access commands frames leaks line parking streams system)
    kage_python_test(conformance/${area} conformance/run.py
      $<TARGET_FILE:vmd> $<TARGET_FILE:sandbox-helper> test_${area})
    set_tests_properties(conformance/${area} PROPERTIES LABELS conformance TIMEOUT 300)
  endforeach()
endif()
