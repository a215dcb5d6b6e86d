target_sources(kage-core PRIVATE web/access.c web/page.c web/server.c web/shell.c web/state.c)

# The page: our own files as they are, and xterm.js as npm delivers it (see web/vendor/README.md).
set(web_files index.html style.css icon.svg app.js link.js style-shim.js tabs.js wire.js
  vendor/xterm.mjs vendor/addon-fit.mjs vendor/xterm.css)
list(TRANSFORM web_files PREPEND ${CMAKE_SOURCE_DIR}/web/)
set(web_assets ${CMAKE_CURRENT_BINARY_DIR}/generated/web_assets.c)
add_custom_command(OUTPUT ${web_assets}
  COMMAND ${CMAKE_COMMAND} "-DFILES=${web_files}" -DOUT=${web_assets}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/web/embed.cmake
  DEPENDS ${web_files} ${CMAKE_CURRENT_SOURCE_DIR}/web/embed.cmake
  COMMENT "Embedding the web terminal's page" VERBATIM)
target_sources(kage-core PRIVATE ${web_assets})
