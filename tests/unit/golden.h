/* What make_store puts into a store, and test_golden finds in it again. */
#pragma once

#define GOLDEN_BOOT    "5a5a5a5a-0000-4000-8000-000000000001"
#define GOLDEN_HISTORY "600d-1"
