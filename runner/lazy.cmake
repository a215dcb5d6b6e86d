target_sources(kage-core PRIVATE lazy/lazy.c)
target_link_libraries(kage-core PRIVATE ${CMAKE_DL_LIBS})
