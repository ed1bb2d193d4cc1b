unit_test(engine_life LIBS berth_engine SOURCES sandbox_player.c)
unit_test(engine_rules LIBS berth_engine SOURCES sandbox_player.c)
unit_test(engine_host LIBS berth_engine SOURCES sandbox_player.c)
