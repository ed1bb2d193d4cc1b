/*
 * The field numbers are those of google/protobuf/descriptor.proto. Only what is needed is looked at: names,
 * imports, the types of fields and methods.
 */
#include "agent/grpc/descriptors_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cleanup.h"

#define NESTING_MAX 32

enum symbol_kind { SYMBOL_MESSAGE = 1, SYMBOL_ENUM, SYMBOL_SERVICE, SYMBOL_METHOD };

struct symbol {
	char *name; /* "package.Message.Nested" */
	enum symbol_kind kind;
	size_t file;
	struct slice bytes; /* its descriptor */
};

struct grpc_descriptors {
	struct descriptor_file *files;
	size_t n_files;
	struct symbol *symbols; /* sorted by name */
	size_t n_symbols;
};

/* --- the wire --- */

struct field {
	uint32_t number;
	uint64_t value;     /* of a varint */
	struct slice bytes; /* of a length-delimited one */
};

static int take_varint(struct slice *in, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; in->n && shift < 64; shift += 7) {
		uint8_t byte = *in->at++;

		in->n--;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		*ret_value = value;
		return 0;
	}
	return -EBADMSG;
}

static int take_bytes(struct slice *in, uint64_t n, struct slice *ret_bytes)
{
	if (n > in->n)
		return -EBADMSG;
	*ret_bytes = (struct slice){ in->at, (size_t)n };
	in->at += n;
	in->n -= (size_t)n;
	return 0;
}

/* Returns 1 with the next field of @in, 0 at the end, -EBADMSG. */
static int next_field(struct slice *in, struct field *ret_field)
{
	struct field field = { 0 };
	uint64_t tag, n = 0;
	int r;

	if (!in->n)
		return 0;
	if (take_varint(in, &tag) < 0 || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return -EBADMSG;
	field.number = (uint32_t)(tag >> 3);
	switch (tag & 7) {
	case 0:
		r = take_varint(in, &field.value);
		break;
	case 1:
		r = take_bytes(in, 8, &field.bytes);
		break;
	case 2:
		r = take_varint(in, &n) ?: take_bytes(in, n, &field.bytes);
		break;
	case 5:
		r = take_bytes(in, 4, &field.bytes);
		break;
	default:
		r = -EBADMSG;
	}
	if (r < 0)
		return r;
	*ret_field = field;
	return 1;
}

/* The last field @number of @message as bytes; empty if there is none. */
static struct slice get_bytes(struct slice message, uint32_t number)
{
	struct slice found = { 0 };
	struct field field;

	while (next_field(&message, &field) == 1) {
		if (field.number == number)
			found = field.bytes;
	}
	return found;
}

static bool get_flag(struct slice message, uint32_t number)
{
	struct field field;
	bool found = false;

	while (next_field(&message, &field) == 1) {
		if (field.number == number)
			found = field.value;
	}
	return found;
}

static bool slice_is(struct slice slice, const char *text, size_t n)
{
	return slice.n == n && (n == 0 || memcmp(slice.at, text, n) == 0);
}

/* --- the index --- */

static void *grow(void *array, size_t n, size_t size)
{
	/* Doubling at powers of two: no count of what is allocated to be kept. */
	if (n & (n - 1))
		return array;
	return reallocarray(array, n ? 2 * n : 1, size);
}

/* *ret_name is allocated also where the rest fails: it belongs to the index then. */
static int add_symbol(struct grpc_descriptors *descriptors, enum symbol_kind kind,
		      const char *scope, struct slice bytes, const char **ret_name)
{
	struct slice name = get_bytes(bytes, 1);
	struct symbol *symbol;
	struct symbol *grown = grow(descriptors->symbols, descriptors->n_symbols, sizeof(*grown));

	if (!name.n)
		return -EBADMSG;
	if (!grown)
		return -ENOMEM;
	descriptors->symbols = grown;
	symbol = &grown[descriptors->n_symbols];
	*symbol = (struct symbol){ .kind = kind, .file = descriptors->n_files - 1, .bytes = bytes };
	if (asprintf(&symbol->name, "%s%s%.*s", scope, *scope ? "." : "", (int)name.n,
		     (const char *)name.at) < 0)
		return -ENOMEM;
	descriptors->n_symbols++;
	*ret_name = symbol->name;
	return 0;
}

static int index_service(struct grpc_descriptors *descriptors, const char *package,
			 struct slice bytes)
{
	struct field field;
	const char *name, *ignored;
	int r = add_symbol(descriptors, SYMBOL_SERVICE, package, bytes, &name);

	while (r == 0 && (r = next_field(&bytes, &field)) == 1)
		r = field.number == 2
			    ? add_symbol(descriptors, SYMBOL_METHOD, name, field.bytes, &ignored)
			    : 0;
	return r;
}

static int index_message(struct grpc_descriptors *descriptors, const char *scope,
			 struct slice bytes, unsigned depth)
{
	struct field field;
	const char *name, *ignored;
	int r;

	if (depth > NESTING_MAX)
		return -EBADMSG;
	r = add_symbol(descriptors, SYMBOL_MESSAGE, scope, bytes, &name);
	while (r == 0 && (r = next_field(&bytes, &field)) == 1) {
		r = 0;
		if (field.number == 3)
			r = index_message(descriptors, name, field.bytes, depth + 1);
		else if (field.number == 4)
			r = add_symbol(descriptors, SYMBOL_ENUM, name, field.bytes, &ignored);
	}
	return r;
}

static int add_import(struct descriptor_file *file, struct slice name)
{
	struct slice *grown = grow(file->imports, file->n_imports, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	file->imports = grown;
	grown[file->n_imports++] = name;
	return 0;
}

static int index_declaration(struct grpc_descriptors *descriptors, const char *package,
			     const struct field *field)
{
	const char *ignored;

	switch (field->number) {
	case 3:
		return add_import(&descriptors->files[descriptors->n_files - 1], field->bytes);
	case 4:
		return index_message(descriptors, package, field->bytes, 1);
	case 5:
		return add_symbol(descriptors, SYMBOL_ENUM, package, field->bytes, &ignored);
	case 6:
		return index_service(descriptors, package, field->bytes);
	default:
		return 0;
	}
}

static int index_file(struct grpc_descriptors *descriptors, struct slice bytes)
{
	struct slice package_bytes = get_bytes(bytes, 2);
	cleanup_free char *package = strndup(package_bytes.n ? (const char *)package_bytes.at : "",
					     package_bytes.n);
	struct descriptor_file *grown = grow(descriptors->files, descriptors->n_files,
					     sizeof(*grown));
	struct field field;
	int r = 0;

	if (!package || !grown)
		return -ENOMEM;
	descriptors->files = grown;
	grown[descriptors->n_files++] = (struct descriptor_file){ .bytes = bytes,
								  .name = get_bytes(bytes, 1) };
	while (r == 0 && (r = next_field(&bytes, &field)) == 1)
		r = index_declaration(descriptors, package, &field);
	return r;
}

static int compare_symbols(const void *a, const void *b)
{
	return strcmp(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

static const struct symbol *find_symbol(const struct grpc_descriptors *descriptors,
					const char *name)
{
	const struct symbol key = { .name = (char *)(uintptr_t)name };

	if (!descriptors->n_symbols)
		return NULL;
	return bsearch(&key, descriptors->symbols, descriptors->n_symbols, sizeof(key),
		       compare_symbols);
}

static const struct descriptor_file *find_file(const struct grpc_descriptors *descriptors,
					       const void *name, size_t n)
{
	for (size_t i = 0; i < descriptors->n_files; i++) {
		if (slice_is(descriptors->files[i].name, name, n))
			return &descriptors->files[i];
	}
	return NULL;
}

static int check_imports(const struct grpc_descriptors *descriptors, struct err *err)
{
	for (size_t i = 0; i < descriptors->n_files; i++) {
		const struct descriptor_file *file = &descriptors->files[i];

		for (size_t j = 0; j < file->n_imports; j++) {
			if (find_file(descriptors, file->imports[j].at, file->imports[j].n))
				continue;
			return err_set(err, ERR_INVALID, EINVAL,
				       "descriptor set: %.*s, imported by %.*s, is not in it",
				       (int)file->imports[j].n, (const char *)file->imports[j].at,
				       (int)file->name.n, (const char *)file->name.at);
		}
	}
	return 0;
}

void grpc_descriptors_free(struct grpc_descriptors *descriptors)
{
	if (!descriptors)
		return;
	for (size_t i = 0; i < descriptors->n_symbols; i++)
		free(descriptors->symbols[i].name);
	for (size_t i = 0; i < descriptors->n_files; i++)
		free(descriptors->files[i].imports);
	free(descriptors->symbols);
	free(descriptors->files);
	free(descriptors);
}
DEFINE_CLEANUP(struct grpc_descriptors *, grpc_descriptors_free)

int grpc_descriptors_new(const uint8_t *bytes, size_t n, struct grpc_descriptors **ret_descriptors,
			 struct err *err)
{
	cleanup(grpc_descriptors_free_p) struct grpc_descriptors *descriptors =
		calloc(1, sizeof(*descriptors));
	struct slice set = { bytes, n };
	struct field field;
	int r = descriptors ? 0 : -ENOMEM;

	while (r == 0 && (r = next_field(&set, &field)) == 1)
		r = field.number == 1 ? index_file(descriptors, field.bytes) : 0;
	if (r == -ENOMEM)
		return err_oom(err);
	if (r < 0 || !descriptors->n_files)
		return err_set(err, ERR_INVALID, EBADMSG,
			       "descriptor set: not a FileDescriptorSet");
	r = check_imports(descriptors, err);
	if (r < 0)
		return r;
	qsort(descriptors->symbols, descriptors->n_symbols, sizeof(*descriptors->symbols),
	      compare_symbols);
	*ret_descriptors = take_ptr(&descriptors);
	return 0;
}

/* --- what reflection asks --- */

const struct descriptor_file *descriptors_find_file(const struct grpc_descriptors *descriptors,
						    const char *name)
{
	return find_file(descriptors, name, strlen(name));
}

const struct descriptor_file *descriptors_find_symbol_file(
	const struct grpc_descriptors *descriptors, const char *symbol)
{
	const struct symbol *found = find_symbol(descriptors, symbol);

	return found ? &descriptors->files[found->file] : NULL;
}

bool descriptors_has_service(const struct grpc_descriptors *descriptors, const char *name, size_t n)
{
	for (size_t i = 0; i < descriptors->n_symbols; i++) {
		const struct symbol *symbol = &descriptors->symbols[i];

		if (symbol->kind == SYMBOL_SERVICE && strlen(symbol->name) == n &&
		    memcmp(symbol->name, name, n) == 0)
			return true;
	}
	return false;
}

int descriptors_closure(const struct grpc_descriptors *descriptors,
			const struct descriptor_file *file,
			const struct descriptor_file ***ret_files, size_t *ret_n)
{
	const struct descriptor_file **files = calloc(descriptors->n_files, sizeof(*files));
	size_t n = 0;

	if (!files)
		return -ENOMEM;
	files[n++] = file;
	for (size_t i = 0; i < n; i++) { /* n grows; each file is added once, so there is room */
		for (size_t j = 0; j < files[i]->n_imports; j++) {
			const struct descriptor_file *import = find_file(
				descriptors, files[i]->imports[j].at, files[i]->imports[j].n);
			bool known = !import;

			for (size_t k = 0; k < n; k++)
				known |= files[k] == import;
			if (!known)
				files[n++] = import;
		}
	}
	*ret_files = files;
	*ret_n = n;
	return 0;
}

/* --- comparing with a table --- */

/* "/package.Service/Method" as "package.Service.Method"; NULL without memory. */
static char *symbol_of(const char *path)
{
	char *symbol = strdup(path + (path[0] == '/'));
	char *slash = symbol ? strrchr(symbol, '/') : NULL;

	if (slash)
		*slash = '.';
	return symbol;
}

/* Types are written ".package.Message". */
static bool is_type(struct slice type, const ProtobufCMessageDescriptor *descriptor)
{
	size_t n = strlen(descriptor->name);

	return type.n == n + 1 && type.at[0] == '.' &&
	       memcmp(type.at + 1, descriptor->name, n) == 0;
}

static int check_row(const struct grpc_descriptors *descriptors, const struct grpc_method *row,
		     struct err *err)
{
	cleanup_free char *name = symbol_of(row->path);
	const struct symbol *symbol;
	bool client_streams = row->kind == GRPC_CLIENT_STREAM || row->kind == GRPC_BIDI;
	bool server_streams = row->kind == GRPC_SERVER_STREAM || row->kind == GRPC_BIDI;

	if (!name)
		return err_oom(err);
	symbol = find_symbol(descriptors, name);
	if (!symbol || symbol->kind != SYMBOL_METHOD)
		return err_set(err, ERR_INVALID, EINVAL, "method %s is in no .proto file",
			       row->path);
	if (!is_type(get_bytes(symbol->bytes, 2), row->request))
		return err_set(err, ERR_INVALID, EINVAL, "method %s does not take a %s", row->path,
			       row->request->name);
	if (!is_type(get_bytes(symbol->bytes, 3), row->response))
		return err_set(err, ERR_INVALID, EINVAL, "method %s does not return a %s",
			       row->path, row->response->name);
	if (get_flag(symbol->bytes, 5) != client_streams ||
	    get_flag(symbol->bytes, 6) != server_streams)
		return err_set(err, ERR_INVALID, EINVAL,
			       "method %s streams in other directions than its row says",
			       row->path);
	return 0;
}

static bool table_has(const struct grpc_method *table, size_t n, const char *symbol)
{
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *name = symbol_of(table[i].path);

		if (name && strcmp(name, symbol) == 0)
			return true;
	}
	return false;
}

/* Is @symbol a method of the same service as @path? */
static bool is_sibling(const char *symbol, const char *path)
{
	size_t n = strcspn(path + 1, "/");

	return strncmp(symbol, path + 1, n) == 0 && symbol[n] == '.' &&
	       !strchr(symbol + n + 1, '.');
}

int grpc_descriptors_check_methods(const struct grpc_descriptors *descriptors,
				   const struct grpc_method *table, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = check_row(descriptors, &table[i], err);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < descriptors->n_symbols; i++) {
		const struct symbol *symbol = &descriptors->symbols[i];
		bool wanted = false;

		for (size_t j = 0; symbol->kind == SYMBOL_METHOD && j < n; j++)
			wanted |= is_sibling(symbol->name, table[j].path);
		if (wanted && !table_has(table, n, symbol->name))
			return err_set(err, ERR_INVALID, EINVAL,
				       "method %s has no row in the table", symbol->name);
	}
	return 0;
}

/* --- recursion --- */

enum mark { UNSEEN = 0, OPEN, DONE };

static int visit(const struct grpc_descriptors *descriptors, size_t at, enum mark *marks,
		 struct err *err);

static int visit_field(const struct grpc_descriptors *descriptors, struct slice field_bytes,
		       enum mark *marks, struct err *err)
{
	struct slice type = get_bytes(field_bytes, 6);
	cleanup_free char *name = NULL;
	const struct symbol *symbol;

	if (type.n < 2)
		return 0;
	name = strndup((const char *)type.at + 1, type.n - 1);
	if (!name)
		return err_oom(err);
	symbol = find_symbol(descriptors, name);
	if (!symbol || symbol->kind != SYMBOL_MESSAGE)
		return 0;
	return visit(descriptors, (size_t)(symbol - descriptors->symbols), marks, err);
}

/* Depth first; meeting a message that is still open is a circle. */
static int visit(const struct grpc_descriptors *descriptors, size_t at, enum mark *marks,
		 struct err *err)
{
	const struct symbol *symbol = &descriptors->symbols[at];
	struct slice bytes = symbol->bytes;
	struct field field;

	if (marks[at] == DONE)
		return 0;
	if (marks[at] == OPEN)
		return err_set(err, ERR_INVALID, ELOOP, "message %s contains itself", symbol->name);
	marks[at] = OPEN;
	while (next_field(&bytes, &field) == 1) {
		int r = field.number == 2 ? visit_field(descriptors, field.bytes, marks, err) : 0;

		if (r < 0)
			return r;
	}
	marks[at] = DONE;
	return 0;
}

int grpc_descriptors_check_recursion(const struct grpc_descriptors *descriptors, struct err *err)
{
	cleanup_free enum mark *marks = calloc(descriptors->n_symbols, sizeof(*marks));

	if (!marks)
		return err_oom(err);
	for (size_t i = 0; i < descriptors->n_symbols; i++) {
		int r = 0;

		if (descriptors->symbols[i].kind == SYMBOL_MESSAGE)
			r = visit(descriptors, i, marks, err);
		if (r < 0)
			return r;
	}
	return 0;
}
