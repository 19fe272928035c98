from udl_tf._support.progress import Counter, part_of


def test_a_counter_reports_the_sum():
    reports = []
    counter = Counter(lambda *report: reports.append(report), total=10, done=2)
    counter.add(3, "a")
    counter.add(5)
    assert reports == [(5, 10, "a"), (10, 10, "")]
    assert counter.done == 10


def test_what_is_done_of_the_next_part_is_shown_and_never_decreases():
    reports = []
    counter = Counter(lambda *report: reports.append(report[0]), total=10)
    counter.show(4)
    counter.show(3)
    counter.add(5)
    counter.show(9)
    assert reports == [4, 4, 5, 10]
    assert counter.done == 5


def test_a_part_reports_in_the_unit_of_the_whole():
    reports = []
    progress = part_of(lambda *report: reports.append(report), before=10, amount=30, whole=100)
    progress(1, 4, "a")
    progress(4, 4)
    assert reports == [(17.5, 100, "a"), (40, 100, "")]
