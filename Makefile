# The front door: everything real is in CMakeLists.txt. `make help` lists the targets.
BUILD ?= build
PREFIX ?= /usr/local
CMAKE ?= cmake
CONFIGURE = $(CMAKE) -G Ninja -S . -DCMAKE_INSTALL_PREFIX=$(PREFIX)
KAGE = $(BUILD)/bin/kage
SOURCES = git ls-files '*.c' '*.h'

.PHONY: all build help setup demo image test test-release test-long test-sanitized bench install clean format \
	check-format check-tidy

all: build

help:
	@echo "make              build kage, vmd and sandbox-helper into $(BUILD)/bin"
	@echo "make demo         install what is missing, build, and run specs/hello.yaml"
	@echo "make test         the tests, then the unit, golden and conformance tests with sanitizers"
	@echo "make test-long    the tests that take minutes: images, downloads, the browser"
	@echo "make bench        how kage compares with podman, bare QEMU and raw TCP here (about 30 minutes);"
	@echo "                  BENCH=--quick takes two"
	@echo "make install      into PREFIX ($(PREFIX)), below DESTDIR if that is set"
	@echo "make format       format the sources with clang-format"
	@echo "make check-format, make check-tidy"
	@echo "make clean        remove the build folders"

setup:
	@scripts/setup-debian build

build: setup
	@$(CONFIGURE) -B $(BUILD) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKAGE_TESTS=OFF >/dev/null
	@$(CMAKE) --build $(BUILD)

image: build
	@scripts/setup-debian run
	@$(KAGE) image inspect tiny >/dev/null 2>&1 || $(KAGE) image build

demo: image
	@echo "+ $(KAGE) apply specs/hello.yaml"
	@$(KAGE) apply specs/hello.yaml

# The layers that need no machine run once more under the address and undefined behaviour
# sanitizers.
test: test-release test-sanitized

test-release:
	@scripts/setup-debian build run image test
	@$(CONFIGURE) -B $(BUILD) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKAGE_TESTS=ON -DKAGE_WERROR=ON \
		>/dev/null
	@$(CMAKE) --build $(BUILD)
	@$(KAGE) image inspect tiny >/dev/null 2>&1 || $(KAGE) image build
	@ctest --test-dir $(BUILD) --output-on-failure -j$$(nproc) -LE long

# What takes minutes: images from nothing, downloads, the browser, every mutation of every spec.
test-long: test-release
	@ctest --test-dir $(BUILD) --output-on-failure -j$$(nproc) -L long

test-sanitized:
	@scripts/setup-debian build test
	@$(CONFIGURE) -B $(BUILD)-asan -DCMAKE_BUILD_TYPE=Debug -DKAGE_TESTS=ON -DKAGE_WERROR=ON \
		-DKAGE_SANITIZE=address,undefined >/dev/null
	@$(CMAKE) --build $(BUILD)-asan
	@ctest --test-dir $(BUILD)-asan --output-on-failure -j$$(nproc) -L 'unit|golden|conformance' -LE long

# docs/performance.md tells what the rows mean. Fails nothing: what is missing is left out.
bench: image
	@tests/bench/run.py --kage $(KAGE) $(BENCH)

# Does not build, so that `sudo make install` leaves no files of root's in the build folder.
install:
	@test -x $(KAGE) || { echo "run 'make' first" >&2; exit 1; }
	@$(CMAKE) --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD) $(BUILD)-asan

format:
	@$(SOURCES) | xargs clang-format -i

check-format:
	@$(SOURCES) | xargs clang-format --dry-run -Werror

check-tidy: build
	@$(SOURCES) | grep '\.c$$' | xargs clang-tidy -p $(BUILD) --quiet
