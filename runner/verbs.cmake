# A new verb: its file here, its function in verbs.h, its row in verb_table.c.
target_sources(kage-core PRIVATE
  job.c usage.c verb_table.c
  verb_check.c verb_explain.c verb_schema.c verb_init.c
  verb_lsp.c lsp/context.c lsp/document.c lsp/features.c lsp/findings.c lsp/server.c lsp/wire.c
  help_text.c verb_completion.c verb_manual.c
  apply/apply.c apply/fit.c apply/images.c apply/lines.c apply/pool.c apply/screen.c apply/show.c
  apply/slot.c
  apply/serial.c apply/spool.c apply/worker.c
  verb_plan.c verb_apply.c verb_image.c verb_template.c
  verb_exec.c verb_shell.c verb_web.c verb_cp.c verb_install.c
  verb_start.c verb_stop.c verb_ps.c verb_logs.c verb_gc.c)

# Manual pages and completion, which the program prints of itself.
set(pages ${CMAKE_CURRENT_BINARY_DIR}/pages)
add_custom_command(OUTPUT ${pages}.stamp
  COMMAND ${CMAKE_COMMAND} -DKAGE=$<TARGET_FILE:kage> -DTO=${pages}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/pages.cmake
  COMMAND ${CMAKE_COMMAND} -E touch ${pages}.stamp
  DEPENDS kage ${CMAKE_CURRENT_SOURCE_DIR}/pages.cmake
  COMMENT "Writing manual pages and completion" VERBATIM)
add_custom_target(pages ALL DEPENDS ${pages}.stamp)
install(DIRECTORY ${pages}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${pages}/completion/kage
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${pages}/completion/_kage DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${pages}/completion/kage.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
