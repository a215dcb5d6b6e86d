/* From a file to the typed spec: every value, every default, and the table they come from. */
#include "runner/spec/spec.h"

#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/diag/diag.h"
#include "runner/spec/draft.h"
#include "runner/spec/fields.h"
#include "runner/spec/foreign.h"
#include "runner/spec/suggest.h"
#include "runner/spec/units.h"

#define HEAD "version: 1\nimage: tiny\n"
#define TAIL "commands: [{exec: [a]}]\n"

static char folder[] = "/tmp/kage-test-XXXXXX";
static char *real_folder;
static struct kage_diags *diags;
static struct kage_error err;

static int make_folder(void **state)
{
    if (!mkdtemp(folder) || !(real_folder = realpath(folder, NULL)))
        return -1;
    KAGE_CLEANUP(kage_freep) char *sub = kage_asprintf("%s/sub", folder);
    return mkdir(sub, 0755);
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"My Spec_2.yaml", "sub/a.yaml", "sub"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, names[i]);
        remove(path);
    }
    free(real_folder);
    return rmdir(folder);
}

static int fresh(void **state)
{
    diags = kage_diags_new();
    err = (struct kage_error)KAGE_ERROR_INIT;
    return 0;
}

static int clean(void **state)
{
    kage_diags_freep(&diags);
    kage_error_done(&err);
    return 0;
}

/* Loads text as `name` in the folder; expects kage_spec_load to return `want`. */
static struct kage_spec *load_as(const char *name, const char *text, int want)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    struct kage_spec *spec = NULL;
    int r = kage_spec_load(path, &spec, diags, &err);
    if (r != want) {
        struct kage_buf out = {0};
        kage_diags_render(diags, KAGE_FORMAT_HUMAN, false, &out);
        fail_msg("returned %d: %s%s", r, out.data ? out.data : "", err.message ? err.message : "");
    }
    assert_true((spec != NULL) == (want == 0));
    return spec;
}

static struct kage_spec *load(const char *text)
{
    return load_as("sub/a.yaml", text, 0);
}

static void small_spec_has_the_defaults(void **state)
{
    struct kage_spec *s = load_as("My Spec_2.yaml", HEAD TAIL, 0);
    assert_string_equal(s->name, "my-spec-2");
    assert_string_equal(s->folder, real_folder);
    assert_int_equal(s->image.form, KAGE_IMAGE_STORE);
    assert_string_equal(s->image.name, "tiny");
    assert_int_equal(s->image.loc.line, 2);
    assert_int_equal(s->machine.arch, KAGE_ARCH_HOST);
    assert_int_equal(s->machine.cpus, 1);
    assert_true(s->machine.memory == UINT64_C(512) << 20);
    assert_true(s->machine.disk == 0);
    assert_int_equal(s->machine.accel, KAGE_ACCEL_AUTO);
    assert_null(s->machine.clock);
    assert_int_equal(s->machine.memory_loc.line, 1);
    assert_string_equal(s->machine.memory_loc.file, s->file);
    assert_false(s->network.outbound);
    assert_int_equal(s->network.n_forwards + s->n_shares + s->n_mounts + s->n_users, 0);
    assert_true(s->timeout_ms == 3600000);
    assert_int_equal(s->timeout_loc.line, 1);
    assert_true(s->limits.output == 0 && s->limits.memory == 0);
    assert_int_equal(s->limits.processes, 512);
    assert_int_equal(s->n_commands, 1);
    const struct kage_spec_command *c = &s->commands[0];
    assert_string_equal(c->name, "a");
    assert_null(c->id);
    assert_null(c->run);
    assert_int_equal(c->n_argv, 1);
    assert_string_equal(c->user, "root");
    assert_string_equal(c->cwd, "/");
    assert_string_equal(c->shell, "sh");
    assert_true(c->timeout_ms == 600000);
    assert_int_equal(c->timeout_loc.line, 3);
    assert_int_equal(c->n_expect, 1);
    assert_int_equal(c->expect[0], 0);
    assert_int_equal(c->when, KAGE_WHEN_ON_SUCCESS);
    assert_false(c->continue_on_error);
    assert_false(c->network);
    assert_int_equal(c->sandbox, KAGE_SANDBOX_DEFAULT);
    kage_spec_free(s);
}

static void every_value_arrives(void **state)
{
    struct kage_spec *s = load(
        "version: 1\nname: n\nimage: {kernel: k, initrd: ./i, rootfs: /r, cmdline: a b}\n"
        "machine: {arch: aarch64, cpus: 0x4, memory: 2GiB, disk: 4GiB, accel: tcg,\n"
        "  clock: \"2026-01-31T12:00:00+01:00\"}\n"
        "network: {outbound: on, forward: [\"8080:80\", \"127.0.0.2:53:5353/udp\"]}\n"
        "shares: {src: {path: .}, out: {path: ../sub, writable: true}}\n"
        "mounts:\n"
        "  - {type: share, source: src, target: /src}\n"
        "  - {type: share, source: out, target: /out}\n"
        "  - {type: share, source: out, target: /ro, writable: false}\n"
        "  - {type: tmpfs, target: /t, size: 1MiB}\n"
        "users: {a: {uid: 1000}, b: {uid: 1001, gid: 5, groups: [6, 7], home: /h, shell: /s}}\n"
        "timeout: 1m30s\nlimits: {output: 1KiB, processes: 3, memory: 1GiB}\n" TAIL);
    assert_int_equal(s->image.form, KAGE_IMAGE_KERNEL);
    KAGE_CLEANUP(kage_freep) char *k = kage_asprintf("%s/sub/k", real_folder);
    KAGE_CLEANUP(kage_freep) char *i = kage_asprintf("%s/sub/i", real_folder);
    KAGE_CLEANUP(kage_freep) char *sub = kage_asprintf("%s/sub", real_folder);
    assert_string_equal(s->image.kernel, k);
    assert_string_equal(s->image.initrd, i);
    assert_string_equal(s->image.rootfs, "/r");
    assert_string_equal(s->image.cmdline, "a b");
    assert_int_equal(s->machine.arch, KAGE_ARCH_AARCH64);
    assert_int_equal(s->machine.cpus, 4);
    assert_true(s->machine.memory == UINT64_C(2) << 30 && s->machine.disk == UINT64_C(4) << 30);
    assert_int_equal(s->machine.accel, KAGE_ACCEL_TCG);
    assert_string_equal(s->machine.clock, "2026-01-31T12:00:00+01:00");
    assert_int_equal(s->machine.cpus_loc.line, 4);
    assert_int_equal(s->machine.cpus_loc.col, 32);
    assert_true(s->network.outbound);
    assert_int_equal(s->network.n_forwards, 2);
    assert_string_equal(s->network.forwards[0].address, "127.0.0.1");
    assert_int_equal(s->network.forwards[0].host_port, 8080);
    assert_int_equal(s->network.forwards[1].guest_port, 5353);
    assert_true(s->network.forwards[1].udp);
    assert_int_equal(s->n_shares, 2);
    assert_string_equal(s->shares[0].path, sub);
    assert_false(s->shares[0].writable);
    assert_true(s->shares[1].writable);
    assert_int_equal(s->shares[1].loc.line, 7);
    assert_int_equal(s->n_mounts, 4);
    assert_false(s->mounts[0].writable);
    assert_true(s->mounts[1].writable);
    assert_false(s->mounts[2].writable);
    assert_true(s->mounts[3].size == 1 << 20);
    assert_int_equal(s->mounts[2].loc.line, 11);
    assert_int_equal(s->users[0].gid, 1000);
    assert_null(s->users[0].home);
    assert_int_equal(s->users[1].gid, 5);
    assert_int_equal(s->users[1].n_groups, 2);
    assert_int_equal(s->users[1].groups[1], 7);
    assert_string_equal(s->users[1].shell, "/s");
    assert_true(s->timeout_ms == 90000);
    assert_true(s->limits.output == 1024 && s->limits.memory == UINT64_C(1) << 30);
    assert_int_equal(s->limits.processes, 3);
    assert_true(s->commands[0].network);
    kage_spec_free(s);
}

static void commands_take_the_defaults(void **state)
{
    struct kage_spec *s = load(
        HEAD "network: on\nusers: {t: {uid: 1000}}\nenv: {B: job, A: job, PYTHON: 3.10}\n"
             "defaults: {user: t, cwd: /w, shell: bash, timeout: 5m, sandbox: strict}\n"
             "commands:\n"
             "  - run: |\n      first line\n      second\n"
             "  - {id: x, exec: [a, 1, no], user: root, cwd: /, shell: /bin/zsh, timeout: 2s,\n"
             "     env: {B: own, C: 0644}, expect: {exit: [1, 2]}, when: always,\n"
             "     continue-on-error: true, network: off, sandbox: none}\n"
             "  - {name: n, exec: [a], expect: {exit: 3}}\n");
    const struct kage_spec_command *c = s->commands;
    assert_string_equal(c[0].name, "first line");
    assert_string_equal(c[0].run, "first line\nsecond\n");
    assert_string_equal(c[0].user, "t");
    assert_string_equal(c[0].cwd, "/w");
    assert_string_equal(c[0].shell, "bash");
    assert_true(c[0].timeout_ms == 300000);
    assert_int_equal(c[0].timeout_loc.line, 6);
    assert_int_equal(c[0].sandbox, KAGE_SANDBOX_STRICT);
    assert_true(c[0].network);
    assert_int_equal(c[0].env.n, 3);
    assert_string_equal(c[0].env.items[0].name, "A");
    assert_string_equal(c[0].env.items[2].value, "3.10");

    assert_string_equal(c[1].name, "x");
    assert_string_equal(c[1].argv[1], "1");
    assert_string_equal(c[1].argv[2], "no");
    assert_string_equal(c[1].user, "root");
    assert_string_equal(c[1].shell, "/bin/zsh");
    assert_true(c[1].timeout_ms == 2000);
    assert_int_equal(c[1].env.n, 4);
    assert_string_equal(c[1].env.items[1].value, "own");
    assert_string_equal(c[1].env.items[2].value, "0644");
    assert_int_equal(c[1].env.items[1].loc.line, 12);
    assert_int_equal(c[1].n_expect, 2);
    assert_int_equal(c[1].when, KAGE_WHEN_ALWAYS);
    assert_true(c[1].continue_on_error);
    assert_false(c[1].network);
    assert_int_equal(c[1].sandbox, KAGE_SANDBOX_NONE);
    assert_int_equal(c[1].loc.line, 11);

    assert_string_equal(c[2].name, "n");
    assert_int_equal(c[2].expect[0], 3);
    kage_spec_free(s);
}

static void variables_are_expanded(void **state)
{
    setenv("KAGE_TEST_A", "one two", 1);
    setenv("KAGE_TEST_E", "", 1);
    unsetenv("KAGE_TEST_U");
    struct kage_spec *s = load(
        HEAD "commands:\n"
             "  - exec: [a, \"${KAGE_TEST_A}/${KAGE_TEST_U:-d}\", \"$${X} $$ $ ${KAGE_TEST_E}.\",\n"
             "      \"${KAGE_TEST_E:-x}\", \"${KAGE_TEST_A:?no}\"]\n"
             "  - run: echo ${KAGE_TEST_A}\n"
             "    timeout: \"${KAGE_TEST_U:-3s}\"\n"
             "host-env: [KAGE_TEST_A, KAGE_TEST_E, KAGE_TEST_U]\n");
    const struct kage_spec_command *c = s->commands;
    assert_string_equal(c[0].argv[1], "one two/d");
    assert_string_equal(c[0].argv[2], "${X} $$ $ .");
    assert_string_equal(c[0].argv[3], "x");
    assert_string_equal(c[0].argv[4], "one two");
    assert_string_equal(c[1].run, "echo ${KAGE_TEST_A}");
    assert_true(c[1].timeout_ms == 3000);
    kage_spec_free(s);
    /* a value is data: what is in it is not looked at again */
    setenv("KAGE_TEST_A", "${KAGE_TEST_E}", 1);
    s = load(HEAD "host-env: [KAGE_TEST_A]\nenv: {V: \"${KAGE_TEST_A}\"}\n" TAIL);
    assert_string_equal(s->commands[0].env.items[0].value, "${KAGE_TEST_E}");
    kage_spec_free(s);
}

static void errors_leave_no_spec(void **state)
{
    assert_null(load_as("sub/a.yaml", HEAD "nonsense: 1\n" TAIL, 1));
    assert_int_equal(kage_diags_count(diags, KAGE_ERROR), 1);
    assert_null(load_as("sub/a.yaml", "", 1));
}

static void warnings_do_not_count(void **state)
{
    struct kage_spec *s = load(HEAD "shares: {src: {path: .}}\n" TAIL);
    assert_int_equal(kage_diags_count(diags, KAGE_WARNING), 1);
    kage_spec_free(s);
}

static void unreadable_files_are_an_error(void **state)
{
    struct kage_spec *spec = NULL;
    assert_int_equal(kage_spec_load("/nonexistent/a.yaml", &spec, diags, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_SPEC);
    assert_non_null(strstr(err.message, "/nonexistent/a.yaml"));
    kage_error_done(&err);
    assert_int_equal(kage_spec_load(folder, &spec, diags, &err), -1);
    assert_non_null(strstr(err.message, "folder"));
    assert_null(spec);
}

static void standard_input_starts_from_here(void **state)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/sub/a.yaml", folder);
    FILE *f = fopen(path, "w");
    fputs(HEAD "shares: {s: {path: sub}}\nmounts: [{type: share, source: s, target: /s}]\n" TAIL,
          f);
    fclose(f);
    int saved = dup(STDIN_FILENO), fd = open(path, O_RDONLY);
    char *cwd = getcwd(NULL, 0);
    dup2(fd, STDIN_FILENO);
    assert_int_equal(chdir(folder), 0);
    struct kage_spec *spec = NULL;
    assert_int_equal(kage_spec_load("-", &spec, diags, &err), 0);
    assert_string_equal(spec->file, "<stdin>");
    assert_string_equal(spec->folder, real_folder);
    assert_string_equal(spec->name, "job");
    kage_spec_free(spec);
    assert_int_equal(chdir(cwd), 0);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(fd);
    free(cwd);
}

static void many_files_one_collection(void **state)
{
    for (int i = 0; i < 3; i++)
        assert_null(load_as("sub/a.yaml", HEAD "x: 1\ny: 2\n" TAIL, 1));
    size_t n;
    kage_diags_list(diags, &n);
    assert_int_equal(n, 6);
}

static void matrix_makes_jobs(void **state)
{
    struct kage_spec *s =
        load(HEAD "matrix: {pg: [15, 3.10], os: [a, b, c], exclude: [{pg: 15, os: c}, {os: b}]}\n"
                  "env: {V: \"${matrix.pg}-${matrix.os}\"}\n" TAIL);
    static const char *const want[] = {"15-a", "3.10-a", "3.10-c"};
    size_t n = 0;
    for (struct kage_spec *job = s; job; job = job->next_job, n++) {
        assert_in_range(n, 0, 2);
        assert_int_equal(job->n_matrix, 2);
        assert_string_equal(job->matrix[0].axis, "pg");
        assert_string_equal(job->commands[0].env.items[0].value, want[n]);
    }
    assert_int_equal(n, 3);
    char *asked[] = {(char *)"pg=3.10", (char *)"os=c"};
    const struct kage_spec *last = s->next_job->next_job;
    assert_true(kage_choices_match(last->matrix, last->n_matrix, asked, 2));
    assert_false(kage_choices_match(s->matrix, s->n_matrix, asked, 1));
    asked[0] = (char *)"pg=3.1";
    assert_false(kage_choices_match(last->matrix, last->n_matrix, asked, 1));
    asked[0] = (char *)"p=3.10";
    assert_false(kage_choices_match(last->matrix, last->n_matrix, asked, 1));
    asked[0] = (char *)"pg";
    assert_false(kage_choices_match(last->matrix, last->n_matrix, asked, 1));
    assert_true(kage_choices_match(NULL, 0, NULL, 0));
    kage_spec_free(s);
}

static void jobs_that_are_alike_are_copies(void **state)
{
    struct kage_spec *s = load(HEAD "matrix: {a: [1, 2]}\nenv: {B: x}\n" TAIL);
    assert_non_null(s->next_job);
    assert_null(s->next_job->next_job);
    assert_string_equal(s->next_job->matrix[0].value, "2");
    assert_string_equal(s->next_job->commands[0].env.items[0].value, "x");
    kage_spec_free(s);
}

static void outcome_is_resolved(void **state)
{
    struct kage_spec *s =
        load(HEAD "secrets: {A: {env: X}, B: {file: key}}\n"
                  "commands:\n"
                  "- {exec: [a], background: true, ready: {tcp: 80}}\n"
                  "- {exec: [a], background: true, ready: {log: up, timeout: 2s}, "
                  "timeout: 1m, retries: 3}\n"
                  "- {exec: [a], secrets: [B, A], pty: true}\n"
                  "artifacts:\n"
                  "- {path: /o/a, to: .}\n"
                  "- {path: \"/o/*\", to: all}\n"
                  "- {path: /o/b, to: c, when: on-failure, optional: true}\n");
    KAGE_CLEANUP(kage_freep) char *key = kage_asprintf("%s/key", s->folder);
    assert_int_equal(s->n_secrets, 2);
    assert_string_equal(s->secrets[0].env, "X");
    assert_string_equal(s->secrets[1].file, key);
    const struct kage_spec_command *c = s->commands;
    assert_int_equal(c[0].ready.kind, KAGE_READY_TCP);
    assert_int_equal(c[0].ready.tcp, 80);
    assert_true(c[0].ready.timeout_ms == 60000);
    assert_true(c[0].timeout_ms == 0 && c[0].background);
    assert_int_equal(c[1].ready.kind, KAGE_READY_LOG);
    assert_true(c[1].timeout_ms == 60000 && c[1].ready.timeout_ms == 2000);
    assert_int_equal(c[1].retries, 3);
    assert_true(c[2].pty && !c[2].background && c[2].timeout_ms == 600000);
    assert_int_equal(c[2].n_secrets, 2);
    assert_string_equal(c[2].secrets[0], "B");
    assert_string_equal(s->artifacts[0].to, "./");
    assert_string_equal(s->artifacts[1].to, "all/");
    assert_string_equal(s->artifacts[2].to, "c");
    assert_int_equal(s->artifacts[0].when, KAGE_WHEN_ALWAYS);
    assert_int_equal(s->artifacts[2].when, KAGE_WHEN_ON_FAILURE);
    assert_true(s->artifacts[2].optional);
    kage_spec_free(s);
}

/* head, n times unit, tail */
static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
    struct kage_buf b = {0};
    kage_buf_adds(&b, head);
    for (size_t i = 0; i < n; i++)
        kage_buf_adds(&b, unit);
    kage_buf_adds(&b, tail);
    return kage_buf_take(&b);
}

/* A file full of one mistake, or of one thing that is looked up: quadratic work would show. */
static void hostile_specs_are_quick(void **state)
{
    char *texts[] = {
        repeat(HEAD "env: {A: \"", "${A}", 250000, "\"}\n" TAIL),
        repeat(HEAD "host-env: [PATH]\nenv: {A: \"", "${PATH}", 140000, "\"}\n" TAIL),
        repeat(HEAD "env: {A: \"", "${", 400000, "\"}\n" TAIL),
        repeat(HEAD "mounts:\n", "- {type: tmpfs, target: /a}\n", 1600, TAIL),
        repeat(HEAD "commands:\n- run: \"", "sudo;", 200000, "\"\n"),
        repeat(HEAD "commands:\n- run: |\n", "    sudo\n", 100000, ""),
        repeat(HEAD "env: {", "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: 1,", 4900, "}\n" TAIL),
        repeat(HEAD "# kage: ignore=", "K401,", 200000, "\n" TAIL),
        repeat(HEAD, "# kage: ignore=K401\n", 52000, TAIL),
        repeat(HEAD TAIL "users:\n", "  a: {uid: 5}\n", 1900, ""),
        repeat(HEAD "commands:\n", "- {exec: [a], user: nobody}\n", 1400, ""),
        repeat(HEAD "matrix: {a: [", "1,", 9000, "]}\n" TAIL),
        repeat(HEAD "matrix: {", "kkkkkkkkkkkk: [1],", 3000, "}\n" TAIL),
        repeat(HEAD
               "matrix: {a: [1,2,3,4,5,6,7,8], b: [1,2,3,4,5,6,7,8], c: [1,2,3,4]}\ncommands:\n",
               "- {exec: [\"${matrix.a}\", b, c], secrets: [A]}\n", 900, ""),
        repeat(HEAD TAIL "matrix:\n  a: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]\n"
                         "  b: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]\n  exclude:\n",
               "    - {a: 1, b: 1}\n", 1800, ""),
        repeat(HEAD TAIL "artifacts:\n", "- {path: /a, to: a}\n", 1900, ""),
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        struct kage_diags *own = kage_diags_new();
        struct kage_spec *spec = NULL;
        kage_spec_load_text("h.yaml", "/", texts[i], strlen(texts[i]), &spec, own);
        struct kage_buf out = {0};
        kage_diags_render(own, KAGE_FORMAT_HUMAN, false, &out);
        kage_buf_done(&out);
        kage_spec_free(spec);
        kage_diags_free(own);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        /* the bar is 0.1 s; sanitizers cost up to ten times that */
        if (s > 1.5)
            fail_msg("text %zu took %.3f s", i, s);
        free(texts[i]);
    }
}

/* What a small file would become, written out. */
static void what_would_grow_is_refused(void **state)
{
    struct kage_buf env = {0}, text = {0};
    kage_buf_adds(&env, HEAD "env:\n");
    for (int i = 0; i < 100; i++)
        kage_buf_addf(&env, "  V%d: %0350d\n", i, 7);
    static const struct {
        int commands;
        const char *more;
        int want;
    } cases[] = {
        {800, "", 0},
        {1000, "", 1},
        {3,
         "matrix: {a: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16], b: [1,2,3,4,5,6,7,8,9,10,11,12]}\n",
         0},
        {5,
         "matrix: {a: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16], b: [1,2,3,4,5,6,7,8,9,10,11,12]}\n",
         1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *commands = repeat("commands:\n", "- exec: [a]\n", (size_t)cases[i].commands, "");
        kage_buf_add(&text, env.data, env.len);
        kage_buf_adds(&text, cases[i].more);
        kage_buf_adds(&text, commands);
        struct kage_diags *own = kage_diags_new();
        struct kage_spec *spec = NULL;
        int r = kage_spec_load_text("g.yaml", "/", text.data, text.len, &spec, own);
        assert_int_equal(r, cases[i].want);
        size_t n;
        struct kage_finding *const *list = kage_diags_list(own, &n);
        if (cases[i].want) {
            assert_int_equal(list[0]->code, K112_TOO_BIG);
            assert_non_null(strstr(list[0]->message, "larger than 32 MiB"));
            assert_int_equal(list[0]->at.loc.col, 1);
        }
        kage_spec_free(spec);
        kage_diags_free(own);
        free(commands);
        kage_buf_consume(&text, text.len);
    }
    kage_buf_done(&text);
    kage_buf_done(&env);
}

/* The table itself. */
static void table_is_sound(void **state)
{
    size_t total = 0;
    for (int id = 0; id < KAGE_OBJECT_COUNT; id++) {
        const struct kage_object *o = &kage_objects[id];
        size_t n;
        const struct kage_field *fields = kage_fields((enum kage_object_id)id, &n);
        total += n;
        assert_non_null(o->name);
        assert_non_null(o->doc);
        assert_in_range(n, 1, 64);
        for (size_t i = 0; i < n; i++) {
            const struct kage_field *f = &fields[i];
            assert_int_equal(f->parent, id);
            assert_non_null(f->doc);
            assert_int_equal(f->doc[strlen(f->doc) - 1], '.');
            assert_ptr_equal(kage_field_find((enum kage_object_id)id, f->name), f);
            assert_null(kage_foreign_find((enum kage_object_id)id, f->name));
            if (f->type == KAGE_FIELD_MATRIX || f->type == KAGE_FIELD_VERSION)
                continue;
            assert_true(f->size > 0);
            if (f->shape != KAGE_SHAPE_ONE)
                assert_true(f->count > 0);
            if (f->type == KAGE_FIELD_WORD)
                assert_non_null(f->words);
            if (f->type == KAGE_FIELD_STRING || f->type == KAGE_FIELD_SCALAR)
                assert_int_equal(f->size, f->shape == KAGE_SHAPE_MAP ? sizeof(struct kage_spec_env)
                                          : f->item_at ? sizeof(struct kage_draft_name)
                                                       : sizeof(char *));
            if (f->type == KAGE_FIELD_SIZE || f->type == KAGE_FIELD_DURATION)
                assert_int_equal(f->size, 8);
            if (f->type == KAGE_FIELD_OBJECT && f->shape != KAGE_SHAPE_ONE)
                assert_int_equal(f->size, kage_objects[f->object].size);
        }
        if (o->discriminator)
            assert_non_null(kage_field_find((enum kage_object_id)id, o->discriminator));
        if (o->scalar)
            assert_non_null(kage_field_find((enum kage_object_id)id, o->scalar));
    }
    assert_true(total > 60);
}

/* ECMA's [\s\S] and \xHH in POSIX words; a C string has no NUL to match. */
static char *posix(const char *regex)
{
    struct kage_buf out = {0};
    for (const char *p = regex; *p;) {
        if (strncmp(p, "[\\s\\S]", 6) == 0) {
            kage_buf_adds(&out, "(.|\n)");
            p += 6;
        } else if (strncmp(p, "\\x", 2) == 0) {
            long byte = strtol((char[]){p[2], p[3], '\0'}, NULL, 16);
            kage_buf_addc(&out, byte ? (char)byte : 1);
            p += 4;
        } else {
            kage_buf_addc(&out, *p++);
        }
    }
    return kage_buf_take(&out);
}

static void forms_agree_with_their_regex(void **state)
{
    static const char *const samples[] = {
        "",
        "a",
        "A",
        "0",
        "-",
        "_",
        "a-b",
        "-a",
        "a.b",
        "a b",
        "a\nb",
        "a\tb",
        "a\x7f",
        "/",
        "/a",
        "/a/b",
        "//",
        "sh",
        "bash",
        "zsh",
        "shx",
        "/bin/sh",
        "a_b",
        "_a",
        "9a",
        "A1_",
        "a=b",
        "host",
        "hostx",
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.5Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-01-31T12:00:00+01:00",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "é",
        "root",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (int form = 0; form < KAGE_FORM_COUNT; form++) {
        const struct kage_form_rule *rule = &kage_forms[form];
        assert_non_null(kage_code_find(rule->code));
        if (!rule->regex || form == KAGE_FORM_URL) /* POSIX knows no \u */
            continue;
        KAGE_CLEANUP(kage_freep) char *text = posix(rule->regex);
        regex_t regex;
        assert_int_equal(regcomp(&regex, text, REG_EXTENDED | REG_NOSUB), 0);
        for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
            if (rule->match(samples[i]) != (regexec(&regex, samples[i], 0, NULL, 0) == 0))
                fail_msg("form %d and its regex disagree on '%s'", form, samples[i]);
        regfree(&regex);
    }
}

static void units(void **state)
{
    uint64_t v;
    assert_true(kage_parse_size("1KiB", &v) && v == 1024);
    assert_true(kage_parse_size("999999999GiB", &v) && v == UINT64_C(999999999) << 30);
    static const char *const bad_sizes[] = {"",      "1",     "KiB",          "1kiB",
                                            "1 KiB", "01KiB", "1KiBs",        "1TiB",
                                            "-1KiB", "0KiB",  "9999999999KiB"};
    for (size_t i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++)
        assert_false(kage_parse_size(bad_sizes[i], &v));
    assert_true(kage_parse_duration("1h2m3s4ms", &v) && v == 3723004);
    assert_true(kage_parse_duration("90s", &v) && v == 90000);
    assert_true(kage_parse_duration("5ms", &v) && v == 5);
    static const char *const bad_durations[] = {"",   "1",    "s",  "1s1h", "1s1s", "1m 1s",
                                                "0s", "1.5h", "1d", "1hm",  "-1s",  "1ss"};
    for (size_t i = 0; i < sizeof(bad_durations) / sizeof(bad_durations[0]); i++)
        assert_false(kage_parse_duration(bad_durations[i], &v));
}

static void forwards(void **state)
{
    char addr[16];
    uint16_t host, guest;
    bool udp;
    assert_null(kage_parse_forward("1:65535/tcp", addr, &host, &guest, &udp));
    assert_int_equal(guest, 65535);
    assert_false(udp);
    assert_string_equal(addr, "");
    assert_null(kage_parse_forward("10.0.0.1:1:2/udp", addr, &host, &guest, &udp));
    assert_string_equal(addr, "10.0.0.1");
    assert_true(udp);
    static const char *const bad[] = {"",
                                      "1",
                                      ":1",
                                      "1:",
                                      "0:1",
                                      "1:65536",
                                      "a:1:2",
                                      "1:2/x",
                                      "1:2/",
                                      "::1:1:2",
                                      "1: 2",
                                      "01:2",
                                      "10.0.0.1.1.1.1.1.1:1:2",
                                      "1.2.3:1:2",
                                      "1:2:3:4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!kage_parse_forward(bad[i], addr, &host, &guest, &udp))
            fail_msg("'%s' was taken", bad[i]);
}

static const char *suggest(const char *word)
{
    struct kage_suggestion s = {0};
    static const char *const words[] = {"commands", "cwd", "name", "continue-on-error", "env"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        kage_suggest(&s, word, words[i], words[i]);
    return s.best;
}

static void suggestions(void **state)
{
    assert_string_equal(suggest("comands"), "commands");
    assert_string_equal(suggest("COMMANDS"), "commands");
    assert_string_equal(suggest("naem"), "name");
    assert_string_equal(suggest("continue_on_errors"), "continue-on-error");
    assert_string_equal(suggest("enf"), "env");
    assert_null(suggest("xyz"));
    assert_null(suggest("e"));
    assert_null(suggest(""));
    assert_null(suggest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(small_spec_has_the_defaults),
        TEST(every_value_arrives),
        TEST(commands_take_the_defaults),
        TEST(variables_are_expanded),
        TEST(errors_leave_no_spec),
        TEST(warnings_do_not_count),
        TEST(unreadable_files_are_an_error),
        TEST(standard_input_starts_from_here),
        TEST(many_files_one_collection),
        TEST(matrix_makes_jobs),
        TEST(jobs_that_are_alike_are_copies),
        TEST(outcome_is_resolved),
        cmocka_unit_test(hostile_specs_are_quick),
        cmocka_unit_test(what_would_grow_is_refused),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(forms_agree_with_their_regex),
        cmocka_unit_test(units),
        cmocka_unit_test(forwards),
        cmocka_unit_test(suggestions),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
