unit_test(roles LIBS berth_service berth_pressure SOURCES ${CMAKE_SOURCE_DIR}/agent/settings.c)
unit_test(settings LIBS berth_grpc berth_image berth_pressure SOURCES ${CMAKE_SOURCE_DIR}/agent/settings.c)
unit_test(service LIBS berth_service)
unit_test(cli_text LIBS berth_proto SOURCES ${CMAKE_SOURCE_DIR}/agent/cli/text.c)
