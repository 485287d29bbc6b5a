# %% [markdown]
# # 3. Break it
#
# Four steps, each with the same question: can a model reach this number without looking at a lung? At the end nothing is
# left of it.

# %%
import matplotlib.pyplot as plt
import numpy as np
from common import CLASSIC, classic_model, manifest
from IPython.display import Image, Markdown, display

from covidcxr.audit.context import make_context, stratified
from covidcxr.audit.model import load_subject
from covidcxr.audit.regions import lungs_erased
from covidcxr.data.manifest import GROWN_UP
from covidcxr.evaluation import metrics
from covidcxr.evaluation.controls import source_oracle, thumbnail_classifier, thumbnails
from covidcxr.evaluation.metrics import estimate, mean_of
from covidcxr.evaluation.scoring import score
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts

records = manifest()
parts = split_parts(records, parse_recipe(CLASSIC, "classic"))
model = classic_model(records)
predictor = Predictor.load(model)
scores = score(predictor, parts.test)


def accuracy(y_score):
    """Return the accuracy on the test images with its interval over patients."""
    return estimate({"a": metrics.accuracy}, scores.y_true, y_score, scores.groups, seed=0)["a"]


steps = {"the classic network": accuracy(scores.y_score)}
print("the classic network:", steps["the classic network"])

# %% [markdown]
# ## Step 1: eight by eight pixels
#
# A thumbnail too small to show a lung, and the simplest classifier there is.

# %%
small = thumbnails(parts.train)
y_train = np.array([scores.labels.index(record.label) for record in parts.train])
classifier = thumbnail_classifier(small, y_train)
tiny = thumbnails(parts.test)
steps["a thumbnail of 8 x 8 pixels"] = accuracy(classifier.predict_proba(tiny))
steps["the name of the collection"] = accuracy(source_oracle(parts.train, parts.test, scores.labels))
for name, value in steps.items():
    print(f"{name:30} {value}")

figure, axes = plt.subplots(1, 6, figsize=(9, 1.8))
for ax, row, truth in zip(axes, tiny[:: len(tiny) // 6], scores.y_true[:: len(tiny) // 6], strict=False):
    ax.imshow(row.reshape(8, 8), cmap="gray")
    ax.set_title(str(scores.labels[truth]), fontsize=8)
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Step 2: paint over the lungs
#
# The organ with the disease is gone. A model that looks at disease can only guess (AUROC 0.50).

# %%
result = lungs_erased(make_context(load_subject(model), records))
display(Image(result.picture))
display(Markdown(f"**{result.finding.verdict}**: {result.finding.says}"))

# %% [markdown]
# ## Step 3: children against adults
#
# In the classic recipe the healthy are one to five years old and the ill are adults. What does the network say about healthy
# *adults* of another hospital (NIH)? If it recognised disease, it would call them healthy.

# %%
nih = [r for r in records if r.origin == "nih" and r.label == "normal" and (r.age is None or r.age >= GROWN_UP)]
adults = score(predictor, stratified(nih, 200))
called = adults.y_score.argmax(axis=1) == adults.labels.index("covid")
false_alarms = mean_of(called, adults.groups, seed=0)
print("healthy adults called COVID-19:", false_alarms)

# %% [markdown]
# ## Step 4: another hospital
#
# Now a test with adults on both sides: COVID-19 from the classic test, normal from NIH. The same network, the same images of
# the ill, other healthy people.

# %%
ill = scores.y_true == scores.labels.index("covid")
y_true = np.concatenate([scores.y_true[ill], adults.y_true])
y_score = np.concatenate([scores.y_score[ill], adults.y_score])
groups = np.concatenate([scores.groups[ill], adults.groups])
covid = scores.labels.index("covid")


def balanced(y_true, y_score, weights):
    """Mean of sensitivity and specificity: 0.5 is guessing, whatever the class proportions."""
    measures = (metrics.sensitivity(covid), metrics.specificity(covid))
    return np.mean([measure(y_true, y_score, weights) for measure in measures], axis=0)


left = estimate({"balanced accuracy": balanced, "auroc": metrics.auroc(covid)}, y_true, y_score, groups, seed=0)
steps["the classic network, against healthy adults"] = left["balanced accuracy"]
for name, value in left.items():
    print(f"{name:20} {value}")

# %%
figure, ax = plt.subplots(figsize=(7, 2.4))
heights = [value.value for value in steps.values()]
errors = [[value.value - value.low for value in steps.values()], [value.high - value.value for value in steps.values()]]
ax.barh(list(steps), heights, xerr=errors, color=["#0072b2", "#999999", "#999999", "#d55e00"], capsize=3)
ax.axvline(0.5, color="black", linestyle=":")
ax.invert_yaxis()
ax.set(xlim=(0, 1.02), xlabel="accuracy (last: balanced) with 95 % interval; dotted: guessing")
plt.show()
assert steps["a thumbnail of 8 x 8 pixels"].value > 0.85
assert left["balanced accuracy"].value < 0.75, "Expected the classic network to fail on healthy adults."

# %% [markdown]
# Nothing was wrong with the network, the split or the arithmetic. The data asked the wrong question.
#
# ## Questions
#
# 1. Which step could a reviewer have seen coming from the paper alone? What should a paper have to report?
# 2. Would more images from the same two collections help? A deeper network? Augmentation?
# 3. The thumbnail is a control. What would be a control in your own field?
