#!/usr/bin/env bash
# Hard links to files of lower layers, and hard links of lower layers of which one name is replaced.
set -euo pipefail

ln usr/bin/tool usr/bin/tool2
rm links/one
echo other >links/one
echo more >>links/two
rm -rf readonly
mkdir -m 0555 readonly
mkdir gone
touch -d '2010-01-01 UTC' gone
