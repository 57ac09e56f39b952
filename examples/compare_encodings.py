"""One layer in three encodings, and what the scale of values does: four pictures."""

import tensorview as tv

subject = tv.open_model("lenet5")
trace = tv.capture(subject.module, subject.preprocess(subject.samples[5].image))

looks = {
    "kind": {"encoding": "kind"},  # hue says the kind of layer
    "sequential": {"encoding": "sequential"},
    "signed": {"encoding": "signed"},  # zero is neutral
    "fixed": {"encoding": "signed", "scaling": "fixed", "value_range": (-2, 2)},
}
for name, look in looks.items():
    scene = tv.Scene(trace, open=["conv1", "conv2"], class_names=subject.class_names, **look)
    tv.screenshot(scene, f"{name}.png", size=(1280, 720), title=f"{subject.title}, {name}", colour_bar=True)
    print(f"{name}.png is written")
