# The verbs of this checkout. Each can be the first thing typed on a bare Debian 12 host, as root.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.venv/bin
export PATH := $(VENV):$(PATH)
export PYTHONPATH := $(CURDIR)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# As in tools/environment: bytecode is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help bootstrap demo demo-down test test-all test-cores hooks lint subjects sanity unit proxy overload contract lab lab-reboots molecule test-firewall-mutants test-machines test-systems test-arm64 bench dashboard docs wheels proxy-compiled execution-environment fuzz conformance changelog build bundle lock release clean

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## */  make \1\t/' | expand -t 24

bootstrap:  ## Debian packages, locked tools, link as a collection
	@tools/bootstrap

demo:  ## two hosts become replicas of one MCP tunnel; a real MCP tool is called through it; V=1 shows all of the play
	@tools/demo

demo-down: bootstrap  ## end the demo and everything it started
	@python -m lab down demo

test: bootstrap  ## everything CI runs, with a summary; the stages' whole output is in .build/logs
	@tools/bootstrap --compiler
	@tools/test

test-all: bootstrap  ## make test, and what it has no time for: mutants, fuzzing, more examples, 10,000 clients
	@tools/bootstrap --compiler
	@tools/test --all

test-cores: bootstrap  ## the unit tests of make test and most playbooks with ansible-core 2.16 to 2.22, and the seconds of each
	@status=0; tools/test --cores || status=$$?; PYTHONPATH=$(CURDIR)/tools python -m stages.cores; exit $$status

lint: bootstrap  ## format, types, Ansible's production profile, documentation, changelog
	@tools/lint

hooks: bootstrap  ## let git run make lint's checks: the quick ones at a commit, the others at a push
	@pre-commit install --install-hooks

subjects: bootstrap  ## the subjects of new commits: make subjects BASE=origin/main
	@tools/run python -m stages.subjects --since "$(or $(BASE),origin/main)"

sanity: bootstrap  ## ansible-test sanity and units on the built collection
	@tools/sanity

unit: bootstrap  ## modules, module_utils, action plugins
	@tools/units

proxy: bootstrap  ## the proxy's own tests
	@cd proxy_src && pytest -q

proxy-compiled: bootstrap  ## the proxy's tests that run the real command, with its modules compiled for the Python of .venv
	@tools/proxy-compiled

conformance: bootstrap  ## the proxy against tables of hostile and unusual bytes, with more examples than CI has time for
	@cd proxy_src && pytest -q -m 'exhaustive or not exhaustive' tests/conformance --hypothesis-profile=explore

fuzz: bootstrap  ## coverage-guided fuzzing of the proxy's layers, FUZZ_SECONDS (60) each
	@tools/fuzz

overload: bootstrap  ## the proxy with 10,000 clients that are idle, slow or never end
	@cd proxy_src && OVERLOAD_CLIENTS=10000 FLOOD_SECONDS=5 TEST_LIMIT=1800 pytest -s -m 'exhaustive or not exhaustive' -o faulthandler_timeout=1900 tests/overload

contract: bootstrap  ## the modules against the laboratory's Tunnels API and the vendor's client
	@pytest -q tests/contract

lab: bootstrap  ## the laboratory's own tests
	@pytest -q lab/tests

lab-reboots: bootstrap  ## REBOOTS (200) reboots of two hosts at the same time, with both processors busy
	@REBOOTS=$(or $(REBOOTS),200) pytest -q -s lab/tests/test_reboots.py -k under_load

molecule: bootstrap  ## the scenarios, on real hosts
	@tools/molecule

test-firewall-mutants: bootstrap  ## each rule of the firewall deleted in turn: the matrix has to notice
	@tools/firewall-mutants

test-machines:  ## what only a kernel of its own can show: a deployment onto virtual machines
	@tools/machines tests/machines

test-systems:  ## Debian 11, in containers, and 14, on a virtual machine: hosts from bare to torn down
	@tools/machines tests/systems

test-arm64:  ## a deployment onto an emulated machine with an ARM processor; it takes an hour
	@tools/arm64

bench: bootstrap  ## figures, as ratios against a peer in one run
	@python -m benchmarks

changelog: bootstrap  ## the changelog of the version in galaxy.yml, of changelogs/fragments
	@PYTHONPATH=$(CURDIR)/tools python -m stages.changelog

dashboard: bootstrap  ## the picture of the dashboard in docs/monitoring, from two replicas under traffic
	@tools/dashboard

docs: bootstrap  ## the documentation site in .build/docs: the guides, and the reference of modules, roles and lookups
	@tools/docs

build: bootstrap  ## the collection's tarball, in .build
	@ansible-galaxy collection build --force --output-path .build

wheels: bootstrap  ## the proxy compiled by mypyc, in proxy_src/wheels: deployments, make bundle and make build take them; see docs/proxy.md
	@tools/wheels

BUNDLE_TARGETS ?= [{"python": "3.11", "architecture": "x86_64"}, {"python": "3.13", "architecture": "x86_64"}]

bundle: bootstrap  ## releases for hosts of BUNDLE_TARGETS, with SBOM, in BUNDLE (.build/bundle); see docs/air-gapped.md
	@ansible-playbook -i localhost, playbooks/assemble.yml -e '{"mcp_tunnel_bundle_targets": $(BUNDLE_TARGETS)}' \
		-e mcp_tunnel_bundle_dest='$(abspath $(or $(BUNDLE),.build/bundle))' $(BUNDLE_ARGS)

execution-environment: bootstrap  ## the image for AWX, in .build: make execution-environment BUNDLE=/directory [BASE=image]
	@tools/execution-environment --bundle "$(BUNDLE)" $(if $(BASE),--base "$(BASE)")

release: bootstrap  ## a checked, tagged release: make release VERSION=1.2.3; with CHECK=1 nothing is kept
	@PYTHONPATH=$(CURDIR)/tools python -m release $(if $(CHECK),--check) -- "$(VERSION)"

lock: bootstrap  ## renew the lock files (make lock UPGRADE=--upgrade for newer versions)
	@tools/lock $(UPGRADE)

clean: demo-down  ## what the commands above left in this checkout
	@rm -rf .build .venv .ansible tests/output proxy_src/wheels
