"""The examples of docs/vault.md. The collection is found as Ansible finds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".build/collections"))
