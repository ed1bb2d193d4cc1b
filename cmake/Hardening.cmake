# Warnings are errors, with gcc and clang; hardening that costs next to nothing is on everywhere.
set(BERTH_WARNINGS -Wall -Wextra -Werror -Wformat=2 -Wshadow -Wstrict-prototypes
	-Wmissing-prototypes -Wold-style-definition -Wvla -Wpointer-arith -Wwrite-strings
	-Wno-unused-parameter -Wno-missing-field-initializers)
add_compile_options(${BERTH_WARNINGS} -fno-strict-aliasing -fstack-protector-strong
	-ffunction-sections -fdata-sections)
add_compile_definitions(_GNU_SOURCE)
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--gc-sections -Wl,--as-needed)

if(BERTH_SANITIZE OR BERTH_FUZZ)
	add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
	add_link_options(-fsanitize=address,undefined)
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
	add_compile_options(-D_FORTIFY_SOURCE=2)
endif()
if(BERTH_FUZZ)
	add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(BERTH_FAILPOINTS)
	add_compile_definitions(BERTH_FAILPOINTS)
endif()
