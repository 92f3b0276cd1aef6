"""What tests of who may do what begin with."""

import os
from pathlib import Path

from harness import CofferTest
from processes import need_root
from stores import Mount, Store


class MountedTest(CofferTest):
    """A store of root's, mounted, that only root is granted. The modes let everyone in: grants alone decide."""

    store: Store
    mount: Mount
    top: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        need_root()

    def setUp(self) -> None:
        super().setUp()
        self.store = self.new_store()
        self.mount = self.new_mount(self.store)
        self.top = self.mount.path
        os.umask(0)
        self.addCleanup(os.umask, 0o022)
        os.chmod(self.top, 0o777)
