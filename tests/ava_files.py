"""AVA figures of files, by the public readers."""

from tubedet.data.annotations.ava_csv import read_ava_csv
from tubedet.evaluation.ava_groundtruth import read_ava_groundtruth
from tubedet.evaluation.ava_protocol import AVA_PROTOCOLS, evaluate_ava


def evaluate_files(groundtruth, predictions, label_map, exclusions=None, protocol="official"):
    """The figures of a prediction csv, an ``AVAResult``."""
    ava_kinetics = AVA_PROTOCOLS[protocol].ava_kinetics
    truth = read_ava_groundtruth(groundtruth, label_map, exclusions, ava_kinetics=ava_kinetics)
    detections = read_ava_csv(predictions, ava_kinetics=ava_kinetics)
    return evaluate_ava(truth.table, detections, truth.label_map, truth.exclusions, protocol)
