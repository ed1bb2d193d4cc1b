unit_test(store LIBS berth_store PkgConfig::SQLITE3 SOURCES store_desk.c)
unit_test(store_disk LIBS berth_store PkgConfig::SQLITE3 SOURCES store_desk.c played_disk.c)
unit_test(store_crash LIBS berth_store PkgConfig::SQLITE3 SOURCES store_desk.c played_disk.c)
