#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "agent/settings.h"

#define FILES "[TLS]\nCertificate=/etc/x/host.pem\nKey=/etc/x/host.key\nClientCA=/etc/x/ca.pem\n"

static int load(const char *text, struct err *err)
{
	struct settings settings = { 0 };
	int r = config_load_text(&settings_table, "berthd.conf", text, strlen(text), &settings,
				 err);

	config_free(&settings_table, &settings);
	return r;
}

static void expect_wrong(const char *text, const char *sentence)
{
	struct err err = { 0 };

	assert_true(load(text, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	if (!strstr(err.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", err.text, sentence);
}

static void an_address_has_a_port(void **state)
{
	static const char *const wrong[] = { "192.0.2.1",       "192.0.2.1:", "192.0.2.1:0x50",
					     "192.0.2.1:65536", "[::1]",      ":7443",
					     "a b:7443" };
	static const char *const right[] = { "192.0.2.1:7443", "[::]:7443", "[2001:db8::1]:1",
					     "host.example:65535", "127.0.0.1:0" };
	char text[512];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		(void)snprintf(text, sizeof(text), FILES "[Listen]\nAddress=\"%s\"\n", wrong[i]);
		expect_wrong(text, "berthd.conf:6: Address: ");
	}
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		struct err err = { 0 };

		(void)snprintf(text, sizeof(text), FILES "[Listen]\nAddress=%s\n", right[i]);
		if (load(text, &err) < 0)
			fail_msg("%s", err.text);
	}
}

static void an_address_needs_all_three_files(void **state)
{
	expect_wrong("[Listen]\n\nAddress=[::]:7443\n", "berthd.conf:3: Address: TCP needs");
	expect_wrong("[TLS]\nCertificate=/a\nKey=/b\n[Listen]\nAddress=[::]:7443\n",
		     "berthd.conf:5: Address: TCP needs Certificate, Key and ClientCA");
	/* A file that is named twice: the second time away. */
	expect_wrong(FILES "Key=\n[Listen]\nAddress=[::]:7443\n", "berthd.conf:7: Address: ");
}

static void pressure_has_its_order(void **state)
{
	expect_wrong("[Pressure]\nStall=3s\nWindow=2s\n", "berthd.conf:2: Stall: ");
	expect_wrong("[Pressure]\nWindow=500ms\nStall=600ms\n", "berthd.conf:3: Stall: ");
	expect_wrong("[Pressure]\nActBelow=20\n", "berthd.conf:2: ActBelow: RelieveAbove is less");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_has_a_port),
		cmocka_unit_test(an_address_needs_all_three_files),
		cmocka_unit_test(pressure_has_its_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
