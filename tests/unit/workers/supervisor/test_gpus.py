"""Which GPU is whose."""

from pelton.workers.supervisor.gpus import gpus_for, visible_gpus


def test_gpus_are_those_this_process_may_use(tmp_path):
    """As the environment names them, else all the driver shows; a single worker keeps what there is."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "3, GPU-x"}, tmp_path) == ["3", "GPU-x"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    assert visible_gpus({}, tmp_path) == ["0", "1"]
    assert gpus_for(0, 1, ["0", "1"]) == {}
    assert gpus_for(2, 3, ["0", "1"]) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert gpus_for(1, 2, []) == {}


def test_a_worker_of_several_parts_has_as_many_gpus():
    """Workers share groups only where there are not enough; what a worker cannot do with too few it says itself."""
    five = ["0", "1", "2", "3", "4"]
    given = [gpus_for(index, 3, five, 2)["CUDA_VISIBLE_DEVICES"] for index in range(3)]
    assert given == ["0,1", "2,3", "0,1"]
    assert gpus_for(1, 2, ["0"], 2) == {"CUDA_VISIBLE_DEVICES": "0"}
