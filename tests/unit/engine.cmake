unit_test(engine_life LIBS berth_engine SOURCES sandbox_player.c)
