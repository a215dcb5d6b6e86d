# Writes HEADER with an id made of the contents of FILES, and copies COPY to COPY_TO.
set(all "")
foreach(file IN LISTS FILES)
  file(SHA256 ${file} hash)
  string(APPEND all "${hash}\n")
endforeach()
string(SHA256 id "${all}")
string(SUBSTRING ${id} 0 16 id)
set(text "#pragma once\n\n/* Made by image_id.cmake. */\n#define KAGE_TINY_ID \"${id}\"\n")

# An unchanged header keeps its time, and what includes it is not compiled again.
set(old "")
if(EXISTS ${HEADER})
  file(READ ${HEADER} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${HEADER} "${text}")
endif()
file(COPY ${COPY} DESTINATION ${COPY_TO})
