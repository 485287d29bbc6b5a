# %% [markdown]
# # 1. The data: what is in the collections, and what had to go?
#
# A study is only as good as its images. Before any network: how many are there, of whom, from where, and what was left out?

# %%
from collections import Counter

import pandas as pd
from common import MANIFEST, manifest
from IPython.display import display

from covidcxr.data.collect import read_rejects
from covidcxr.data.duplicates import read_duplicates
from covidcxr.data.report import contact_sheet
from covidcxr.data.sources import SOURCES
from covidcxr.images.decode import read_image

records = manifest()
print(len(records), "images of", len({record.patient_id for record in records}), "patients as published")

# %% [markdown]
# ## Which class comes from where?
#
# Rows are collections, columns are classes. Look at the zeros: they are the reason for everything that follows.

# %%
frame = pd.DataFrame([{"source": r.source, "label": str(r.label), "view": str(r.view), "age": r.age} for r in records])
display(pd.crosstab(frame["source"], frame["label"]))
display(pd.crosstab(frame["source"], frame["view"]))
display(frame.groupby("source")["age"].describe()[["count", "min", "50%", "max"]])

# %% [markdown]
# ## What the filters dropped
#
# Nothing disappears silently: every image that is not in the manifest has one reason.

# %%
rejects = read_rejects(MANIFEST.with_suffix(".rejects.csv"))
counts = Counter((reject.source, str(reject.reason)) for reject in rejects)
display(pd.Series(counts).unstack(fill_value=0))
print("Findings of covid-chestxray that belong to none of the classes:")
print(Counter(r.finding for r in rejects if r.source == "covid-chestxray" and r.reason == "finding").most_common(8))

# %% [markdown]
# A table translates each finding word for word; nothing is guessed from part of a word.

# %%
for finding, label in list(SOURCES["covid-chestxray"].findings.items())[:6]:
    print(f"{finding:40} -> {label}")

# %% [markdown]
# ## The same radiograph twice
#
# Collections copied each other, and several scraped the same papers. With one copy in training and the other in the test,
# the model would be tested on what it has memorised.

# %%
pairs = read_duplicates(MANIFEST.with_suffix(".duplicates.csv"))
between = Counter(" and ".join(sorted({a.split("/")[0] for a in (pair.id_a, pair.id_b)})) for pair in pairs)
display(pd.Series(between, name="pairs").sort_values(ascending=False).to_frame())
assert any(" and " in name for name in between), "Expected copies across collections."

# %%
import matplotlib.pyplot as plt

by_id = {record.id: record for record in records}
across = next(pair for pair in pairs if pair.id_a.split("/")[0] != pair.id_b.split("/")[0])
figure, axes = plt.subplots(1, 2, figsize=(8, 4))
for ax, name in zip(axes, (across.id_a, across.id_b), strict=True):
    ax.imshow(read_image(by_id[name].path), cmap="gray")
    ax.set_title(name, fontsize=7)
    ax.axis("off")
plt.show()

# %% [markdown]
# Images that share a patient or are near-duplicates form a group, and no split divides a group.

# %%
splits: dict[str, set[str]] = {}
for record in records:
    splits.setdefault(record.group, set()).add(str(record.split))
assert all(len(parts) == 1 for parts in splits.values())
print(len(splits), "groups; the largest holds", Counter(r.group for r in records).most_common(1)[0][1], "images")

# %% [markdown]
# ## Look at them
#
# A contact sheet of every collection. Ten minutes here teach more than a week of training.

# %%
for source in sorted({record.source for record in records}):
    print(source)
    display(contact_sheet([record for record in records if record.source == source], seed=0))

# %% [markdown]
# ## Questions
#
# 1. Which two collections could you tell apart from across the room, and how?
# 2. A model is trained on COVID-19 from one collection and normal from another. What could it learn instead of disease?
# 3. Whose images are missing altogether? What does that mean for a hospital near you?
