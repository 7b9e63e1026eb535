# md: containers as a pipeline of tiny commands. `make help` lists the targets.

PREFIX  ?= /usr/local
IMAGE   ?= alpine
CMD     ?= /bin/sh
ROOTFS  ?= rootfs
NODES   ?= 22 24 26
MACHINE ?= $(HOME)/.cache/md/machine
ARCH    ?= $(arch)

bin      := dist/bin
commands := md-token md-manifest md-fetch-layer md-unpack md-isolate md-prune
wrappers := md-pull md-run
threads  := layer-thread
arch     := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)
share    := man/man1 bash-completion/completions zsh/site-functions fish/vendor_completions.d
scripts  := cmd/md-pull cmd/md-run cmd/build/launcher-head test/machine/run test/machine/uml $(wildcard cmd/help/*.sh cmd/help/*.bash test/peers/images/*.sh) .ci/run
sources  := $(shell find cmd lib test -type f) package.json tsconfig.json

.PHONY: help build check test test-nodes test-uml uml-cgroup-v2 uml-apparmor test-machine demo bench pull run install uninstall clean
.DEFAULT_GOAL := build

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: dist/.built ## compile; the commands are then in dist/bin

# What npm has in its cache it need not ask for: the lock file has the hashes. Without a network it would try for minutes.
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --ignore-scripts --engine-strict --prefer-offline --no-audit --no-fund --loglevel=error
	@touch $@

dist/.built: $(sources) node_modules/.package-lock.json
	rm -rf dist
	node_modules/.bin/tsc -p .
	node dist/cmd/build/bundle.mjs $(foreach c,$(commands),$c=cmd/$c.ts) $(foreach t,$(threads),$t=lib/compress/$t.ts)
	node dist/cmd/build/code-cache.cjs $(patsubst %,dist/bundle/%.js,$(commands) $(threads))
	for c in $(commands) $(threads); do \
		cat cmd/build/launcher-head dist/cmd/build/launcher.cjs >dist/bundle/$$c.cjs && chmod 755 dist/bundle/$$c.cjs || exit; done
	mkdir -p $(bin)
	for c in $(commands); do ln -sf ../bundle/$$c.cjs $(bin)/$$c; done
	for w in $(wrappers); do ln -sf ../../cmd/$$w $(bin)/$$w; done
	node dist/cmd/help/main.mjs dist/share $(addprefix $(bin)/,$(commands) $(wrappers))
	@touch $@

check: build ## type-check and lint
	node_modules/.bin/biome ci .
	@if command -v shellcheck >/dev/null; then shellcheck $(scripts); \
	else echo 'shellcheck is not installed: the shell scripts were not linted'; fi

test: check ## all tests; as root the isolation tests run as well
	node --test --test-concurrency=2 $$(find dist/test -name '*.test.js' | sort)

# What other releases of Node may do differently: start, streams, zlib, terminals, threads beside a fork. The other
# tests of the pipeline are about what this project does, which is the same on each.
node-tests := pipeline/isolate pipeline/isolate-sockets pipeline/isolate-terminal pipeline/pipe pipeline/unpack unit/compress unit/sys-program

# Architecture, release, and packages beside it. The package is Node's own build, which needs no libraries but those of C
# and C++. Force, since it may be for another processor.
npm-node = npm install --force --no-save --no-audit --no-fund --loglevel=error --prefix dist/nodes/$(2) \
	node-linux-$(1)@$(2) $(3)

test-nodes: build ## a part of the tests on other releases of Node, which npm fetches
	for v in $(NODES); do \
		$(call npm-node,$(arch),$$v) && \
		PATH="$(CURDIR)/dist/nodes/$$v/node_modules/node-linux-$(arch)/bin:$$PATH" node --test --test-concurrency=2 \
			$(node-tests:%=dist/test/%.test.js) || exit; \
	done

# At once, since each kernel has one processor.
test-uml: build ## what takes cgroup v2 or AppArmor, with a kernel that has them, in User-mode Linux; as root
	$(MAKE) --jobs=2 --output-sync uml-cgroup-v2 uml-apparmor

uml-cgroup-v2: build
	test/machine/uml . pipeline/cgroup-v2

uml-apparmor: build
	test/machine/uml '[Aa]pp[Aa]rmor' pipeline/isolate-refused

# What depends on the kernel and on systemd: cgroup v2, AppArmor, all capabilities, sessions of users. With ARCH=arm64 it
# also tells what differs by processor.
machine-tests := pipeline/service pipeline/cgroup-v2 pipeline/cgroup pipeline/isolate \
	pipeline/isolate-container pipeline/isolate-layer pipeline/isolate-limits \
	pipeline/isolate-refused pipeline/isolate-rootless pipeline/isolate-seccomp \
	pipeline/isolate-trace hostile/isolate

koffi = @koromix/koffi-linux-$(ARCH)@$(shell node -p 'require("./node_modules/koffi/package.json").version')

test-machine: build ## another part in a virtual machine with systemd and cgroup v2; as root, with qemu and mmdebstrap
	$(call npm-node,$(ARCH),22,$(koffi))
	ARCH=$(ARCH) test/machine/run $(MACHINE) dist/nodes/22/node_modules $(machine-tests)

demo: build ## the whole pipe and a container, on an embedded registry; only the build needs a network
	node dist/test/support/demo.js

bench: build ## benchmarks, side by side with the peers that are installed
	node dist/test/bench/main.js

pull: build ## pull IMAGE into ROOTFS
	$(bin)/md-pull $(IMAGE) $(ROOTFS)

run: build ## run CMD in a container of IMAGE
	$(bin)/md-run $(IMAGE) $(CMD)

# In quotes: a name with a space in it is one word.
to = $(DESTDIR)$(PREFIX)

install: build ## install the commands, their man pages and completions below PREFIX
	install -d "$(to)/bin" "$(to)/lib/md/node_modules/@koromix"
# First, since V8 tells a cache of an older release by the length of the source alone. Another architecture may have one here.
	rm -f "$(to)/lib/md"/*.cache
	install -m 755 dist/bundle/*.cjs cmd/md-pull cmd/md-run "$(to)/lib/md"
	install -m 644 dist/bundle/*.js dist/bundle/*.cache "$(to)/lib/md"
# A new file, as install makes it: a container that runs has the old one in its memory, and would end with it.
	cp -R --remove-destination node_modules/@koromix/. "$(to)/lib/md/node_modules/@koromix"
	for c in $(commands); do ln -sf ../lib/md/$$c.cjs "$(to)/bin/$$c"; done
	for w in $(wrappers); do ln -sf ../lib/md/$$w "$(to)/bin/$$w"; done
	for d in $(share); do install -d "$(to)/share/$$d" && \
		cp -fP dist/share/$$d/* "$(to)/share/$$d" || exit; done
# For every user, whatever the umask was here and when this was built.
	chmod -R go+rX "$(to)/lib/md"
	find dist/share -type f | while read -r f; do chmod go+r "$(to)/$${f#dist/}" || exit; done

uninstall: ## remove what install put below PREFIX
	rm -rf "$(to)/lib/md"
	for c in $(commands) $(wrappers); do rm -f "$(to)/bin/$$c" "$(to)/share/man/man1/$$c.1" \
		"$(to)/share/bash-completion/completions/$$c" "$(to)/share/fish/vendor_completions.d/$$c.fish"; done
	rm -f "$(to)/share/zsh/site-functions/_md-containers"

clean: ## remove what was built
	rm -rf dist
