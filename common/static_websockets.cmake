# Links TARGET with the archives of libwebsockets and what it needs, without TLS.
#
# Neither end of vmd's connections leaves the computer, so neither speaks TLS; but
# the distribution's libwebsockets brings libssl and libcrypto. Those are 5.5 MB
# that every boot would unpack and relocate under emulation (0.1 s of 1.4 s),
# code that PID 1 is better without, and half of the time in which kage itself
# starts. The functions of OpenSSL that the archive refers to are replaced by ones
# that abort; the program does not export them, so a library that is opened later
# (libcurl) finds OpenSSL's own.
#
# Where an archive is missing (or a sanitizer wants to see everything) the
# target is left as it is, linked with the shared libraries.
function(kage_static_websockets target)
  find_library(LWS_ARCHIVE libwebsockets.a)
  find_library(CAP_ARCHIVE libcap.a)
  find_library(Z_ARCHIVE libz.a)
  find_library(SSL_SHARED libssl.so)
  find_library(CRYPTO_SHARED libcrypto.so)
  mark_as_advanced(LWS_ARCHIVE CAP_ARCHIVE Z_ARCHIVE SSL_SHARED CRYPTO_SHARED)
  if(TARGET no-tls)
    _kage_link_static_websockets(${target})
    return()
  endif()
  if(KAGE_SANITIZE OR NOT CMAKE_NM OR NOT LWS_ARCHIVE OR NOT CAP_ARCHIVE OR NOT Z_ARCHIVE
      OR NOT SSL_SHARED OR NOT CRYPTO_SHARED)
    return()
  endif()

  execute_process(COMMAND ${CMAKE_NM} -P -u ${LWS_ARCHIVE}
    OUTPUT_VARIABLE wanted ERROR_QUIET RESULT_VARIABLE failed)
  execute_process(COMMAND ${CMAKE_NM} -P -D --defined-only ${SSL_SHARED} ${CRYPTO_SHARED}
    OUTPUT_VARIABLE offered ERROR_QUIET RESULT_VARIABLE failed_too)
  if(failed OR failed_too)
    return()
  endif()
  string(REGEX MATCHALL "[A-Za-z_][A-Za-z0-9_]* U" wanted "${wanted}")
  list(TRANSFORM wanted REPLACE " U" "")
  string(REGEX MATCHALL "[\r\n][A-Za-z_][A-Za-z0-9_]*" offered "\n${offered}")
  list(TRANSFORM offered STRIP)
  list(REMOVE_DUPLICATES wanted)
  list(SORT wanted)

  set(text "#include <stdlib.h>\n\n/* Made by static_websockets.cmake. */\n")
  foreach(name IN LISTS wanted)
    if(name IN_LIST offered)
      string(APPEND text "_Noreturn void ${name}(void);\nvoid ${name}(void)\n{\n    abort();\n}\n")
    endif()
  endforeach()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/no_tls.c)
  file(CONFIGURE OUTPUT ${source} CONTENT "${text}" @ONLY)
  add_library(no-tls STATIC ${source})

  _kage_link_static_websockets(${target})
endfunction()

# In this order, and before the shared library that kage-loop names, which is then not needed.
function(_kage_link_static_websockets target)
  target_link_libraries(${target} PRIVATE kage-loop ${LWS_ARCHIVE} no-tls ${CAP_ARCHIVE}
    ${Z_ARCHIVE})
  target_link_options(${target} PRIVATE -Wl,--as-needed -Wl,--gc-sections)
endfunction()
