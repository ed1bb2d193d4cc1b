unit_test(engine_life LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_rules LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_host LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_hold LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_random LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(sandboxlink LIBS berth_sandboxlink)
unit_test(engine_durable LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_records LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_refused LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(golden LIBS berth_engine SOURCES sandbox_player.c played_store.c)
target_compile_definitions(test_golden PRIVATE
	GOLDEN_STORES="${CMAKE_CURRENT_SOURCE_DIR}/stores")
unit_test(engine_policy LIBS berth_engine SOURCES sandbox_player.c played_store.c)
unit_test(engine_probes LIBS berth_engine SOURCES sandbox_player.c played_store.c)

# What stores/make keeps a store of each schema version with.
add_executable(make_store make_store.c sandbox_player.c played_store.c)
target_link_libraries(make_store PRIVATE berth_engine PkgConfig::CMOCKA)
target_compile_options(make_store PRIVATE -Wno-missing-prototypes)
