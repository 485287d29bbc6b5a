# %% [markdown]
# # 2. The classic 96 %
#
# In spring 2020 a recipe went around the world: take the COVID-19 images of one collection and as many healthy ones of
# another, train a small network for ten epochs, report 96 % accuracy. Here it is, on images of 96 x 96 instead of 224 x 224
# pixels so that it takes a minute or two; `covidcxr train classic` runs all of it. Is the number real?

# %%
from collections import Counter

import pandas as pd
from common import CLASSIC, WORK, manifest
from IPython.display import Image, display

from covidcxr.evaluation import metrics
from covidcxr.evaluation.metrics import estimate
from covidcxr.evaluation.plots import plots
from covidcxr.evaluation.protocols import PUBLISHED
from covidcxr.evaluation.scoring import score
from covidcxr.prediction.predictor import Predictor
from covidcxr.recipes.recipe import parse_recipe
from covidcxr.recipes.selection import split_parts
from covidcxr.training.export import export
from covidcxr.training.fit import train

records = manifest()
print(CLASSIC)

# %% [markdown]
# ## Who is in it
#
# Four fifths of the patients are for training, one fifth for testing. Nobody is in both.

# %%
parts = split_parts(records, parse_recipe(CLASSIC, "classic"))
for name, part in (("training", parts.train), ("test", parts.test)):
    print(name, dict(Counter((r.source, str(r.label)) for r in part)))

# %% [markdown]
# ## Train, and export to one file
#
# If this cell is stopped, it resumes where it was. Every number below is measured on the exported file: what is measured is
# what would be shipped.

# %%
run, model = WORK / "classic", WORK / "classic.onnx"
train(records, CLASSIC, run)
if not model.exists():
    export(run, model)
display(Image(run / "curves.png"))

# %% [markdown]
# ## The result
#
# With an interval over patients: draw as many patients with replacement, many times, and see how the number varies.

# %%
scores = score(Predictor.load(model), parts.test)
covid = scores.labels.index("covid")
measured = estimate(
    {
        "accuracy": metrics.accuracy,
        "precision": metrics.ppv(covid),
        "recall": metrics.sensitivity(covid),
        "f1": metrics.f1(covid),
    },
    scores.y_true,
    scores.y_score,
    scores.groups,
    seed=0,
)
display(pd.DataFrame({"published": PUBLISHED, "here": {name: str(value) for name, value in measured.items()}}))
assert measured["accuracy"].value > 0.85, "Expected the classic recipe to reproduce."

# %%
for name in ("confusion", "roc"):
    display(Image(plots(scores)[name]))

# %% [markdown]
# It reproduces. So is it a good test for COVID-19?
#
# ## Questions
#
# 1. List everything in which the two groups of people differ apart from the disease. Use notebook 1.
# 2. The test patients were never seen in training. Why does that not help?
# 3. What would you need to see before you believed the 96 %? Write it down before you open notebook 3.
