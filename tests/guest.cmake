# vmd: its parts by cmocka, the protocol by a client that shares no code with it.
kage_unit_test(guest_files vmd-core)
kage_unit_test(guest_options vmd-core)
kage_unit_test(guest_stream vmd-core)
kage_unit_test(guest_token vmd-core)

if(KAGE_TESTS)
  # The interpreter that Debian's python3-websockets is for; another python3 may come first in PATH.
  find_program(KAGE_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  foreach(area access commands frames leaks streams system)
    if(KAGE_PYTHON)
      add_test(NAME conformance/${area}
        COMMAND ${KAGE_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/conformance/run.py
          $<TARGET_FILE:vmd> $<TARGET_FILE:sandbox-helper> test_${area})
    else()
      add_test(NAME conformance/${area}
        COMMAND sh -c "echo 'skipped: there is no /usr/bin/python3'; exit 77")
    endif()
    set_tests_properties(conformance/${area} PROPERTIES
      LABELS conformance TIMEOUT 300 SKIP_RETURN_CODE 77)
  endforeach()
endif()
