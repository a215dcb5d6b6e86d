#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/diag/diag.h"
#include "runner/spec/fields.h"
#include "runner/spec/spec.h"
#include "runner/verbs.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] = "Usage: kage init [OPTION]... [FILE]\n"
                            "Write a first spec (job.kage.yaml; - is standard output) that runs "
                            "the tests of the project in\n"
                            "the current folder, as far as its files tell what they are.\n"
                            "\n"
                            "  --image=NAME  the image to boot (tiny)\n"
                            "  --force       replace a file that is there\n"
                            "  -h, --help    show this help\n"
                            "\n"
                            "Exit codes: 0 done, 1 not written, 2 wrong usage.\n";

/* What a project's tests are called, by the file that gives the project away. */
static const struct {
    const char *file, *contains, *command;
} projects[] = {
    {"Makefile", "\ncheck:", "make check"},
    {"Makefile", "\ntest:", "make test"},
    {"GNUmakefile", NULL, "make check"},
    {"CMakeLists.txt", NULL,
     "cmake -S . -B /work/build && cmake --build /work/build && ctest --test-dir /work/build"},
    {"meson.build", NULL, "meson setup /work/build && meson test -C /work/build"},
    {"Cargo.toml", NULL, "cargo test --offline"},
    {"go.mod", NULL, "go test ./..."},
    {"package.json", "\"test\"", "npm test"},
    {"pyproject.toml", NULL, "python3 -m pytest"},
    {"setup.py", NULL, "python3 -m pytest"},
    {"configure", NULL, "./configure && make check"},
    {"run-tests", NULL, "./run-tests"},
    {"run-tests.sh", NULL, "sh run-tests.sh"},
    {"Makefile", NULL, "make"},
};

static bool contains(const char *file, const char *text)
{
    char content[65536];
    KAGE_CLEANUP(kage_closep) int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, content + 1, sizeof(content) - 2);
    if (n < 0)
        return false;
    content[0] = '\n'; /* so that a line that is the first is one as well */
    content[n + 1] = '\0';
    return !text || strstr(content, text);
}

static const char *find_command(void)
{
    for (size_t i = 0; i < sizeof(projects) / sizeof(projects[0]); i++)
        if (contains(projects[i].file, projects[i].contains))
            return projects[i].command;
    return "echo 'the tests of the project go here'";
}

static void write_spec(struct kage_buf *out, const char *image, const char *command)
{
    kage_buf_addf(out,
                  "# Runs the tests of this project in a virtual machine of their own.\n"
                  "#\n"
                  "#   kage check FILE    find mistakes\n"
                  "#   kage apply FILE    run it\n"
                  "#\n"
                  "# Everything the machine may see or reach is written here. The network is off.\n"
                  "version: 1\n"
                  "image: %s\n"
                  "machine: {cpus: 2, memory: 1GiB}\n"
                  "shares:\n"
                  "  src: {path: .} # read-only until it says writable: true\n"
                  "mounts:\n"
                  "  - {type: share, source: src, target: /src}\n"
                  "  - {type: tmpfs, target: /work, size: 256MiB}\n"
                  "users:\n"
                  "  tester: {uid: 1000}\n"
                  "env: {TZ: UTC, LC_ALL: C.UTF-8}\n"
                  "defaults: {user: tester, cwd: /work/project, timeout: 10m}\n"
                  "timeout: 30m\n"
                  "commands:\n"
                  "  - name: a copy to work on\n"
                  "    user: root\n"
                  "    cwd: /\n"
                  "    run: |\n"
                  "      cp -R /src /work/project\n"
                  "      chown -R tester: /work\n"
                  "\n"
                  "  - name: tests\n"
                  "    run: |\n"
                  "      %s\n"
                  "\n"
                  "  - name: what is left of a failed run\n"
                  "    when: on-failure\n"
                  "    run: ls -l\n",
                  image, command);
}

/* A spec to start from has to be one: it is checked like any other before it is handed out. */
static bool is_clean(const struct kage_buf *text)
{
    KAGE_CLEANUP(kage_diags_freep) struct kage_diags *diags = kage_diags_new();
    KAGE_CLEANUP(kage_freep) char *folder = getcwd(NULL, 0);
    struct kage_spec *spec = NULL;
    size_t n;
    kage_spec_load_text("job.kage.yaml", folder ? folder : "/", text->data, text->len, &spec,
                        diags);
    kage_spec_free(spec);
    kage_diags_list(diags, &n);
    return n == 0;
}

static int save(const char *file, const struct kage_buf *text, bool force)
{
    KAGE_CLEANUP(kage_closep)
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL), 0666);
    if (fd < 0 && errno == EEXIST) {
        fprintf(stderr, "kage init: %s is there already; --force replaces it\n", file);
        return EXIT_FAILED;
    }
    if (fd < 0 || write(fd, text->data, text->len) != (ssize_t)text->len) {
        fprintf(stderr, "kage init: cannot write %s: %s\n", file, strerror(errno));
        return EXIT_FAILED;
    }
    fprintf(stderr, "%s is written; 'kage apply %s' runs it\n", file, file);
    return 0;
}

int kage_verb_init(int argc, char **argv)
{
    static const struct option longs[] = {{"image", required_argument, NULL, 'i'},
                                          {"force", no_argument, NULL, 'f'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *image = "tiny";
    bool force = false;
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        switch (c) {
        case 'h':
            return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
        case 'f':
            force = true;
            break;
        case 'i':
            image = optarg;
            break;
        default:
            kage_usage("init", "'%s' is no option, or needs a value", argv[optind - 1]);
            return EXIT_USAGE;
        }
    }
    if (argc - optind > 1 || !kage_forms[KAGE_FORM_LABEL].match(image)) {
        kage_usage("init", argc - optind > 1 ? "one file at a time" : "that is no image's name");
        return EXIT_USAGE;
    }
    const char *file = optind < argc ? argv[optind] : "job.kage.yaml";
    KAGE_CLEANUP(kage_buf_done) struct kage_buf text = {0};
    write_spec(&text, image, find_command());
    if (!is_clean(&text)) {
        fprintf(stderr, "kage init: no spec can be made for this folder\n");
        return EXIT_FAILED;
    }
    if (strcmp(file, "-") == 0)
        return fputs(text.data, stdout) < 0 || fflush(stdout) != 0 ? EXIT_FAILED : 0;
    return save(file, &text, force);
}
