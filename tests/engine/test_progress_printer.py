import logging

from detectron2.utils.events import EventStorage

from tubedet.engine.progress_printer import ProgressPrinter


def test_one_line_with_the_last_layers_losses(caplog):
    printer = ProgressPrinter(max_iter=100)
    with EventStorage(9) as storage, caplog.at_level(logging.INFO):
        storage.put_scalars(total_loss=3.0, loss_ce=1.5, loss_ce_0=1.25, loss_ce_b=0.5)
        storage.put_scalar("time", 2.0)
        storage.put_scalar("lr", 1e-4)
        storage.put_scalar("validation/total_loss", 9.0)
        printer.write()
        storage.iter = 10  # after a training that ended early
        printer.write()
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("iter 10/100  eta 0:03:00  total_loss 3  loss_ce 1.5  loss_ce_b 0.5")
    assert "loss_ce_0" not in line and "validation" not in line and "lr 0.0001" in line
