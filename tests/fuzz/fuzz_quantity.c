/*
 * Every small parser on one text: what a quantity says must be written back as a text that says the same;
 * what is refused must have a printable sentence.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/names.h"
#include "proto/quantity.h"
#include "proto/signame.h"
#include "proto/utf8.h"

static void check_sentence(int r, const struct err *err)
{
	if (r == 0)
		return;
	if (err->kind != ERR_INVALID || !err->text[0])
		abort();
	for (const char *p = err->text; *p; p++) {
		if ((unsigned char)*p < 0x20)
			abort();
	}
}

static void check_quantities(const char *text)
{
	char buffer[QUANTITY_TEXT_MAX];
	struct err err = { 0 };
	uint64_t value, again;
	int r;

	r = quantity_parse_bytes(text, &value, &err);
	check_sentence(r, &err);
	if (r == 0 && (quantity_parse_bytes(quantity_format_bytes(value, buffer), &again, NULL) ||
		       again != value))
		abort();
	r = quantity_parse_duration_ms(text, &value, &err);
	check_sentence(r, &err);
	if (r == 0 &&
	    (quantity_parse_duration_ms(quantity_format_duration_ms(value, buffer), &again, NULL) ||
	     again != value))
		abort();
	r = quantity_parse_cpu_millis(text, &value, &err);
	check_sentence(r, &err);
	if (r == 0 &&
	    (quantity_parse_cpu_millis(quantity_format_cpu_millis(value, buffer), &again, NULL) ||
	     again != value))
		abort();
	r = quantity_parse_decimal(text, 0, 1000, &value, &err);
	check_sentence(r, &err);
	if (r == 0 && value > 1000)
		abort();
}

static void check_names(const char *text)
{
	struct user_name user;
	struct err err = { 0 };
	int signal, r;

	check_sentence(names_check_workload_id(text, &err), &err);
	check_sentence(names_check_env(text, text, &err), &err);
	check_sentence(names_check_label(text, text, &err), &err);
	check_sentence(names_check_hostname(text, &err), &err);
	check_sentence(names_check_path(text, &err), &err);
	check_sentence(names_check_sysctl(text, text, NULL, &err), &err);
	check_sentence(names_check_sysctl("kernel.sem", text, NULL, &err), &err);
	check_sentence(names_check_line(text, 100, &err), &err);
	r = names_parse_user(text, &user, &err);
	check_sentence(r, &err);
	if (r == 0 && (user.uid > NAME_UID_MAX || user.gid > NAME_UID_MAX))
		abort();
	r = signame_parse(text, &signal, &err);
	check_sentence(r, &err);
	if (r == 0 && (signal < 1 || signal > 64))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	check_quantities(text);
	check_names(text);
	(void)utf8_valid(data, size);
	free(text);
	return 0;
}
