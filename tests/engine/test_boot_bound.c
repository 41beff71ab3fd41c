/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernels and initrds callers of the API may name who are not root. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/vm_file.h"

#define VM                                                                                            \
	"name = \"vm1\"; uuid = \"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\"; machine = \"pc-q35-10.0\";" \
	"cpu = \"max\"; memory = \"512M\";\n"

typedef struct Fixture {
	TestFolder folder;
	char boot[128];
} Fixture;

static void put(const Fixture *f, const char *name)
{
	char path[128];
	Error err;

	assert_works(file_replace(support_path(&f->folder, name, path), "abc", 3, 0600, &err),
		     &err);
}

static void link_to(const Fixture *f, const char *target, const char *name)
{
	char path[128];

	assert_int_equal(symlink(target, support_path(&f->folder, name, path)), 0);
}

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	char path[128];

	support_make_folder(&f->folder);
	support_path(&f->folder, "boot", f->boot);
	assert_int_equal(mkdir(f->boot, 0700), 0);
	assert_int_equal(mkdir(support_path(&f->folder, "boot/deep", path), 0700), 0);
	put(f, "secret");
	put(f, "boot/kernel");
	put(f, "boot/deep/kernel");
	link_to(f, "../secret", "boot/link");
	link_to(f, "kernel", "boot/inner-link");
	link_to(f, "boot", "boot-link");
	assert_int_equal(mkfifo(support_path(&f->folder, "boot/fifo", path), 0600), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	support_remove_folder(&f->folder);
	test_free(f);
	return 0;
}

/* `format` has one %s: the test's folder. */
static bool parse(const Fixture *f, const char *setting, const char *format, const char *boot,
		  VmFile *ret_file, Error *err)
{
	char path[256], text[1024];

	path[0] = '\0';
	for (const char *at = format; *at; at++) {
		size_t used = strlen(path);

		snprintf(path + used, sizeof(path) - used, "%.*s", *at == '@' ? 100 : 1,
			 *at == '@' ? f->folder.path : at);
	}
	snprintf(text, sizeof(text), VM "%s%s = \"%s\";\n",
		 strcmp(setting, "initrd") ? "" : "kernel = \"kernel\"; ", setting, path);
	return vm_file_parse_bounded("vm.conf", f->boot, text, boot, ret_file, err);
}

/* "@" is the test's folder; relative names start in the boot directory. */
static const struct {
	const char *path;
	ErrorCategory refused; /* for who is not root; root may name each of them */
	const char *why;
} cases[] = {
	{ "@/boot/kernel", ERROR_NONE, NULL },
	{ "kernel", ERROR_NONE, NULL },
	{ "@/boot//kernel", ERROR_NONE, NULL },
	{ "@/secret", ERROR_DENIED, "only root may name files outside " },
	{ "@/boot/../secret", ERROR_DENIED, "only root may name files outside " },
	{ "../secret", ERROR_DENIED, "only root may name files outside " },
	{ "@/boot/deep/kernel", ERROR_DENIED, "only root may name files outside " },
	{ "@/boot-link/kernel", ERROR_DENIED, "only root may name files outside " },
	{ "/etc/passwd", ERROR_DENIED, "only root may name files outside " },
	{ "@/boot/link", ERROR_DENIED, "not a regular file" },
	{ "@/boot/inner-link", ERROR_DENIED, "not a regular file" },
};

static void files_outside_are_roots(void **state)
{
	static const char *const settings[] = { "kernel", "initrd" };
	static VmFile file;
	Fixture *f = *state;
	Error err;

	for (size_t s = 0; s < ARRAY_SIZE(settings); s++)
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			assert_works(parse(f, settings[s], cases[i].path, NULL, &file, &err), &err);
			if (!cases[i].why) {
				assert_works(
					parse(f, settings[s], cases[i].path, f->boot, &file, &err),
					&err);
				continue;
			}
			assert_fails(parse(f, settings[s], cases[i].path, f->boot, &file, &err),
				     cases[i].refused, cases[i].why, &err);
			assert_non_null(strstr(err.text, "vm.conf:2: "));
			assert_non_null(strstr(err.text, settings[s]));
		}
}

/* What is not there looks the same as what is, outside; and a FIFO does not make us wait. */
static void nothing_is_learnt_of_the_rest(void **state)
{
	static VmFile file;
	Fixture *f = *state;
	Error there, missing;

	assert_fails(parse(f, "kernel", "@/secret", f->boot, &file, &there), ERROR_DENIED, "",
		     &there);
	assert_fails(parse(f, "kernel", "@/sesame", f->boot, &file, &missing), ERROR_DENIED, "",
		     &missing);
	assert_string_equal(strchr(there.text, '"') + strlen("\"") + strlen(f->folder.path) + 7,
			    strchr(missing.text, '"') + strlen("\"") + strlen(f->folder.path) + 7);
	assert_fails(parse(f, "kernel", "@/boot/nothing", f->boot, &file, &missing), ERROR_CONFIG,
		     "No such file", &missing);
	assert_fails(parse(f, "kernel", "@/boot/fifo", f->boot, &file, &missing), ERROR_DENIED,
		     "not a regular file", &missing);
	assert_fails(parse(f, "kernel", "@/boot/", f->boot, &file, &missing), ERROR_DENIED,
		     "only root", &missing);
}

#define BOUND_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOUND_TEST(files_outside_are_roots),
		BOUND_TEST(nothing_is_learnt_of_the_rest),
	};

	return cmocka_run_group_tests_name("engine/boot-bound", tests, NULL, NULL);
}
