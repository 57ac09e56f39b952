"""A view that opens again as it was: write a scene file, read it, draw it.

The command line opens the same file: `tensorview render view.toml -o view.png`, `tensorview explore view.toml`.
"""

import tensorview as tv

view = tv.SceneFile(model="lenet5", input="sample:8", open=("conv1", "conv2"), theme="light", title="An eight")
view.save("view.toml")

subject, trace, scene = tv.load_scene("view.toml")
print(f"{subject.title} says {subject.top(trace['output'].values, k=1)[0].name}")
tv.screenshot(scene, "view.png", size=(1280, 720), title=view.title)
