//! Sequences of inputs through the reload machine, and its invariants after every step.

use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

fn files(names: &[&str]) -> BTreeSet<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

fn save(name: &str, millis: u64) -> Input {
    Input::Wanted(Cause::changed(files(&[name]), at(millis)))
}

fn loaded(generation: u64) -> Input {
    Input::Loaded { generation: GenerationId(generation), moved: BTreeSet::new() }
}

fn broken(generation: u64) -> Input {
    Input::Broken { generation: GenerationId(generation), moved: BTreeSet::new() }
}

fn same(generation: u64, moved: &[&str]) -> Input {
    Input::Same { generation: GenerationId(generation), moved: files(moved) }
}

/// A machine whose generation 1 serves.
fn serving(on_broken: OnBroken) -> Machine {
    let mut machine = Machine::new(on_broken, at(0));
    machine.handle(at(0), Input::BaseReady);
    machine.handle(at(0), loaded(1));
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    machine
}

fn numbers(effects: &[Effect]) -> Vec<(&'static str, u64)> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Load(id, _) => ("load", id.0),
            Effect::Serve(id, _) => ("serve", id.0),
            Effect::Retire(id) => ("retire", id.0),
            Effect::Discard(id) => ("discard", id.0),
            Effect::Announce { broken, .. } => ("announce", broken.0),
        })
        .collect()
}

#[test]
fn nothing_loads_before_a_base_is_ready() {
    let mut machine = Machine::new(OnBroken::Keep, at(0));
    assert_eq!(machine.handle(at(1), save("a.py", 1)), []);
    assert_eq!(numbers(&machine.handle(at(2), Input::BaseReady)), [("load", 1)]);
    assert_eq!(machine.availability(), Availability::Wait);
}

#[test]
fn a_save_makes_jobs_wait_until_the_new_generation_serves() {
    let mut machine = serving(OnBroken::Keep);
    assert_eq!(numbers(&machine.handle(at(1), save("a.py", 1))), [("load", 2)]);
    assert_eq!(machine.availability(), Availability::Wait);
    assert_eq!(numbers(&machine.handle(at(2), loaded(2))), [("serve", 2), ("retire", 1)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(2)));
}

#[test]
fn a_hundred_saves_during_loading_are_one_more_generation() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    for n in 0..100 {
        assert_eq!(machine.handle(at(2 + n), save(&format!("{n}.py"), 2 + n)), []);
    }
    let effects = machine.handle(at(200), loaded(2));
    assert_eq!(numbers(&effects), [("serve", 2), ("retire", 1), ("load", 3)]);
    let Some(Effect::Load(_, cause)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!((cause.changed.len(), cause.seen), (100, at(2)));
    assert_eq!(machine.availability(), Availability::Wait);
}

#[test]
fn the_same_code_leaves_what_serves_in_place() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    assert_eq!(numbers(&machine.handle(at(2), same(2, &[]))), [("discard", 2)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    machine.handle(at(3), save("a.py", 3));
    let effects = machine.handle(at(4), same(3, &["a.py"]));
    assert_eq!(numbers(&effects), [("discard", 3), ("load", 4)], "it changed once more");
    assert_eq!(machine.availability(), Availability::Wait);
    assert_eq!(machine.handle(at(5), same(3, &[])), [], "it is not loading any more");
}

#[test]
fn what_was_learned_makes_nobody_wait() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), Input::Wanted(Cause::learned(at(1))));
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    assert_eq!(numbers(&machine.handle(at(2), loaded(2))), [("serve", 2), ("retire", 1)]);
}

#[test]
fn keep_serves_the_last_good_generation_and_hold_does_not() {
    for (on_broken, while_broken) in [
        (OnBroken::Keep, Availability::Serve(GenerationId(1))),
        (OnBroken::Hold, Availability::Hold),
    ] {
        let mut machine = serving(on_broken);
        machine.handle(at(1), save("a.py", 1));
        let effects = machine.handle(at(2), broken(2));
        assert_eq!(numbers(&effects), [("discard", 2), ("announce", 2)]);
        assert_eq!(machine.availability(), while_broken);
        machine.handle(at(3), save("a.py", 3));
        machine.handle(at(4), loaded(3));
        assert_eq!(machine.availability(), Availability::Serve(GenerationId(3)));
    }
}

#[test]
fn without_any_good_generation_jobs_are_held() {
    let mut machine = Machine::new(OnBroken::Keep, at(0));
    machine.handle(at(0), Input::BaseReady);
    machine.handle(at(1), broken(1));
    assert_eq!(machine.availability(), Availability::Hold);
}

#[test]
fn a_tree_that_moved_while_loading_is_loaded_again_but_not_for_ever() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let mut generation = 2;
    loop {
        let input = Input::Loaded { generation: GenerationId(generation), moved: files(&["a.py"]) };
        let effects = machine.handle(at(generation), input);
        if numbers(&effects)[0].0 == "serve" {
            break;
        }
        assert_eq!(numbers(&effects), [("discard", generation), ("load", generation + 1)]);
        generation += 1;
    }
    assert_eq!(generation, 2 + u64::from(MOVED_MAX));
    assert_eq!(machine.availability(), Availability::Wait, "and it goes on trying");
}

#[test]
fn one_that_survives_no_fork_is_loaded_again_without_what_it_imported() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let effects = machine.handle(at(2), Input::Unfit(GenerationId(2)));
    assert_eq!(numbers(&effects), [("discard", 2), ("load", 3)]);
    assert_eq!(machine.availability(), Availability::Wait, "for the same reason");
}

#[test]
fn half_of_a_change_that_cannot_be_imported_is_not_called_broken() {
    let mut machine = serving(OnBroken::Hold);
    machine.handle(at(1), save("a.py", 1));
    let input = Input::Broken { generation: GenerationId(2), moved: files(&["b.py"]) };
    assert_eq!(numbers(&machine.handle(at(2), input)), [("discard", 2), ("load", 3)]);
    assert_eq!(machine.availability(), Availability::Wait);
}

#[test]
fn code_that_is_broken_however_often_it_is_loaded_is_called_so() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let mut generation = 2;
    while !machine.newest_is_broken() {
        let moved = files(&["a.py"]);
        machine
            .handle(at(generation), Input::Broken { generation: GenerationId(generation), moved });
        generation += 1;
    }
    assert_eq!(generation, 3 + u64::from(MOVED_MAX));
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
}

#[test]
fn a_generation_that_dies_is_replaced_at_once_and_then_after_doubling_pauses() {
    let mut machine = serving(OnBroken::Keep);
    let mut now = at(0);
    let mut pauses = Vec::new();
    for generation in 1..12 {
        let mut effects = machine.handle(now, Input::Died(GenerationId(generation)));
        assert_eq!(machine.availability(), Availability::Wait);
        if let Some(deadline) = machine.next_deadline() {
            assert_eq!(effects, []);
            pauses.push(deadline.since(now).as_secs());
            now = deadline;
            effects = machine.handle(now, Input::Tick);
        }
        assert_eq!(numbers(&effects), [("load", generation + 1)]);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    machine.handle(now, Input::Died(GenerationId(12)));
    assert_eq!(numbers(&machine.handle(now, save("a.py", 0))), [("load", 13)], "a save resets");
}

/// Invariants over many random sequences: one loading at a time, numbers only grow, what
/// serves has been loaded, and after the first `Serve` broken code never takes over.
#[test]
fn invariants_hold_over_random_sequences() {
    for seed in 0..500_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let on_broken = if seed % 2 == 0 { OnBroken::Keep } else { OnBroken::Hold };
        let mut machine = Machine::new(on_broken, at(0));
        let (mut loading, mut good) = (None::<GenerationId>, BTreeSet::new());
        for step in 0..200 {
            let target = loading.or(machine.serving()).unwrap_or(GenerationId(1));
            let moved = if next(4) == 0 { files(&["m.py"]) } else { BTreeSet::new() };
            let input = match next(10) {
                0 => Input::BaseReady,
                1 => Input::BaseGone,
                2 | 3 => save("s.py", step),
                4 => Input::Wanted(Cause::learned(at(step))),
                5 => Input::Died(target),
                6 => Input::Unfit(target),
                7 => Input::Same { generation: target, moved },
                8 => Input::Broken { generation: target, moved },
                _ => Input::Loaded { generation: target, moved },
            };
            let was_loading = loading;
            for effect in machine.handle(at(step * 100_000), input) {
                match effect {
                    Effect::Load(..) | Effect::Announce { .. } => {}
                    Effect::Serve(id, _) => {
                        assert_eq!(Some(id), was_loading, "seed {seed}: only what was loading");
                        good.insert(id);
                    }
                    Effect::Retire(id) => assert!(good.contains(&id), "seed {seed}"),
                    Effect::Discard(id) => assert!(!good.contains(&id), "seed {seed}: {id}"),
                }
            }
            loading = machine.loading();
            if let Availability::Serve(id) = machine.availability() {
                assert!(good.contains(&id), "seed {seed}: {id} serves but never loaded");
            }
        }
    }
}
