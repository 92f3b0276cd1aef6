"""The frameworks that read and write model files: PyTorch, h5py, NumPy. All of Debian's packages, unmodified."""

import os
import unittest

from files import MIB
from harness import MountedTest
from processes import drop_caches, in_processes, need

try:
    import numpy
except ImportError:
    numpy = None
try:
    import h5py
except ImportError:
    h5py = None
try:
    import torch
except ImportError:
    torch = None


class PyTorch(MountedTest):
    limit = 120.0

    @classmethod
    def setUpClass(cls) -> None:
        need(torch, "PyTorch is not installed (package python3-torch)")
        super().setUpClass()

    @staticmethod
    def state(mebibytes: int) -> dict:
        """A state_dict of this size, of several types and shapes, empty and shared tensors among them."""
        torch.manual_seed(mebibytes)
        rows = mebibytes * MIB // 4 // 4 // 1024
        state = {f"layers.{number}.weight": torch.randint(-2**31, 2**31 - 1, (rows, 1024), dtype=torch.int32) for number in range(3)}
        state["embedding"] = torch.randn(rows, 1024)
        state["half"] = torch.randn(1000, 333).half()
        state["bias"] = torch.arange(7, dtype=torch.float64)
        state["scalar"] = torch.tensor(3.25)
        state["empty"] = torch.empty(0, 5)
        state["view"] = state["embedding"][5:9]
        return state

    def assert_same_state(self, got: dict, expected: dict) -> None:
        self.assertEqual(list(got), list(expected))
        for name, tensor in expected.items():
            self.assertEqual((name, got[name].dtype, got[name].shape), (name, tensor.dtype, tensor.shape))
            self.assertTrue(torch.equal(got[name], tensor), name)

    def test_state_dict(self) -> None:
        path = self.dir / "model.pt"
        state = self.state(320)
        torch.save(state, path)
        self.assertGreater(path.stat().st_size, 300 * MIB)
        self.assert_same_state(torch.load(path), state)  # warm: from the page cache
        self.remount()
        self.assert_same_state(torch.load(path), state)  # cold

    def test_several_processes_load_at_once(self) -> None:
        path = self.dir / "model.pt"
        state = self.state(32)
        torch.save(state, path)
        drop_caches()

        def load() -> None:
            loaded = torch.load(path)
            assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())

        in_processes([load] * 4)

    def test_checkpoints_replaced_in_place(self) -> None:
        """As trainers do it: written beside the old one, renamed over it, while somebody reads the old one."""
        path = self.dir / "checkpoint.pt"
        old = self.state(8)
        torch.save(old, path)
        with open(path, "rb") as reader:
            for step in range(3):
                new = {"step": torch.tensor(step), "weight": torch.full((1000, 1000), float(step))}
                torch.save(new, self.dir / "checkpoint.pt.tmp")
                os.replace(self.dir / "checkpoint.pt.tmp", path)
                self.assert_same_state(torch.load(path), new)
            self.assert_same_state(torch.load(reader), old)
        self.remount()
        self.assert_same_state(torch.load(path), new)

    def test_storage_mapped_from_the_file(self) -> None:
        path = self.dir / "storage.bin"
        values = torch.arange(4 * MIB, dtype=torch.int32)
        values.numpy().tofile(path)
        drop_caches()
        shared = torch.from_file(str(path), shared=True, size=values.numel(), dtype=torch.int32)
        self.assertTrue(torch.equal(shared, values))
        shared[12345] = -1
        del shared
        values[12345] = -1
        private = torch.from_file(str(path), shared=False, size=values.numel(), dtype=torch.int32)
        private[7] = -2
        del private
        self.remount()
        self.assertTrue(torch.equal(torch.from_file(str(path), size=values.numel(), dtype=torch.int32), values))


class Hdf5(MountedTest):
    @classmethod
    def setUpClass(cls) -> None:
        need(h5py, "h5py is not installed (package python3-h5py)")
        need(numpy, "NumPy is not installed (package python3-numpy)")
        super().setUpClass()

    def test_write_read_append(self) -> None:
        path = self.dir / "data.h5"
        dice = numpy.random.default_rng(1)
        plain = dice.standard_normal((700, 1000))
        packed = dice.integers(0, 100, (300, 1000))
        with h5py.File(path, "w") as file:
            file.create_dataset("plain", data=plain)
            file.create_dataset("packed", data=packed, chunks=(50, 100), compression="gzip", maxshape=(None, 1000))
            file["group/ö"] = "text"
            file["plain"].attrs["unit"] = "m"
        self.remount()
        more = dice.integers(0, 100, (200, 1000))
        with h5py.File(path, "a") as file:
            self.assertTrue(numpy.array_equal(file["plain"][...], plain))
            file["packed"].resize(500, axis=0)
            file["packed"][300:] = more
            file["plain"][100:200, 5] = 42.0
            del file["group/ö"]
            file["late"] = numpy.arange(10)
        plain[100:200, 5] = 42.0
        self.remount()
        with h5py.File(path, "r") as file:
            self.assertTrue(numpy.array_equal(file["plain"][...], plain))
            self.assertTrue(numpy.array_equal(file["packed"][...], numpy.concatenate([packed, more])))
            self.assertTrue(numpy.array_equal(file["packed"][123:456:7, 3], numpy.concatenate([packed, more])[123:456:7, 3]))
            self.assertEqual(file["plain"].attrs["unit"], "m")
            self.assertEqual(list(file["group"]), [])
            self.assertTrue(numpy.array_equal(file["late"][...], numpy.arange(10)))

    def test_drivers(self) -> None:
        values = numpy.arange(100_000)
        for driver in ("sec2", "stdio", "core"):
            path = self.dir / driver
            with h5py.File(path, "w", driver=driver) as file:
                file["values"] = values
            drop_caches()
            with h5py.File(path, "r", driver=driver) as file:
                self.assertTrue(numpy.array_equal(file["values"][...], values), driver)


class NumPy(MountedTest):
    @classmethod
    def setUpClass(cls) -> None:
        need(numpy, "NumPy is not installed (package python3-numpy)")
        super().setUpClass()

    def test_save_and_map(self) -> None:
        path = self.dir / "array.npy"
        values = numpy.random.default_rng(2).integers(0, 2**63, 4 * MIB, dtype=numpy.uint64)
        numpy.save(path, values)
        self.remount()
        mapped = numpy.load(path, mmap_mode="r")
        picked = numpy.random.default_rng(3).integers(0, len(values), 2000)
        self.assertTrue(numpy.array_equal(mapped[picked], values[picked]))
        self.assertTrue(numpy.array_equal(mapped, values))
        self.assertTrue(numpy.array_equal(numpy.load(path), values))

    def test_memmap_r_plus(self) -> None:
        path = self.dir / "array.bin"
        expected = numpy.zeros((1000, 1024), dtype=numpy.float32)
        mapped = numpy.memmap(path, dtype=numpy.float32, mode="w+", shape=(1000, 1024))
        mapped[10:20] = expected[10:20] = 1.5
        mapped.flush()
        del mapped
        mapped = numpy.memmap(path, dtype=numpy.float32, mode="r+", shape=(1000, 1024))
        mapped[:, 7] = expected[:, 7] = numpy.arange(1000)
        mapped[-1, -1] = expected[-1, -1] = -8
        del mapped  # without a flush: unmapping has to do
        self.assertTrue(numpy.array_equal(numpy.fromfile(path, numpy.float32).reshape(expected.shape), expected))
        self.remount()
        self.assertTrue(numpy.array_equal(numpy.fromfile(path, numpy.float32).reshape(expected.shape), expected))

    def test_memmap_copy_on_write(self) -> None:
        path = self.dir / "array.bin"
        values = numpy.arange(100_000)
        values.tofile(path)
        drop_caches()
        mapped = numpy.memmap(path, dtype=values.dtype, mode="c")
        mapped[::3] += 1
        self.assertTrue(numpy.array_equal(mapped[1::3], values[1::3]))
        self.assertTrue(numpy.array_equal(mapped[::3], values[::3] + 1))
        del mapped
        drop_caches()
        self.assertTrue(numpy.array_equal(numpy.fromfile(path, values.dtype), values))


if __name__ == "__main__":
    unittest.main()
