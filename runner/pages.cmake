# Manual pages and completion, made by the program itself: cmake -DKAGE=... -DTO=... -P pages.cmake
file(MAKE_DIRECTORY ${TO}/man1 ${TO}/completion)
execute_process(COMMAND ${KAGE} --help OUTPUT_VARIABLE help COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${KAGE} manual OUTPUT_FILE ${TO}/man1/kage.1 COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "\n  [a-z]+ " verbs "${help}")
foreach(verb IN LISTS verbs)
  string(STRIP "${verb}" verb)
  execute_process(COMMAND ${KAGE} manual ${verb} OUTPUT_FILE ${TO}/man1/kage-${verb}.1
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
foreach(pair bash:kage zsh:_kage fish:kage.fish)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 shell)
  list(GET pair 1 file)
  execute_process(COMMAND ${KAGE} completion ${shell} OUTPUT_FILE ${TO}/completion/${file}
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
