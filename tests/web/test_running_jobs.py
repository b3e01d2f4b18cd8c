from tubedet.web.running_jobs import RunningJobs, time_left


def test_a_visitor_stops_a_job_of_his_own():
    jobs = RunningJobs()
    jobs.stop("a")  # there is none
    with jobs.running("a") as is_stopped, jobs.running("b") as is_other_stopped:
        assert not is_stopped()
        jobs.stop("a")
        assert is_stopped() and not is_other_stopped()
    with jobs.running("a") as is_stopped:
        assert not is_stopped()


def test_time_left():
    assert time_left(0.25, 10, 20) == ", about 30 s left"
    assert time_left(0.1, 10, 40) == ", about 4 min left"
    assert [time_left(0.9, 10, 11.9), time_left(0, 10, 90)] == ["", ""]
