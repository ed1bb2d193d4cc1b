fuzz_target(log_line LIBS berth_logs)
fuzz_target(page LIBS berth_proto)
fuzz_target(cli_text LIBS berth_proto SOURCES ${CMAKE_SOURCE_DIR}/agent/cli/text.c)
fuzz_target(http_head LIBS berth_probe)
