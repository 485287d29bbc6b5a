# %% [markdown]
# # 5. Deploy
#
# A model is used long after its training. The best-known web demonstration of the classic recipe was trained on grey values
# 0..1 and served 0..255: it ran, and every answer was wrong. How can that be made impossible?

# %%
import io
import json

import numpy as np
from common import WORK, classic_model, manifest
from IPython.display import display
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from covidcxr.data.manifest import Split
from covidcxr.dicom.results.report import results
from covidcxr.images.decode import decode_image, read_image
from covidcxr.prediction.heatmap import overlay
from covidcxr.prediction.predictor import Predictor
from covidcxr.training.fit import load_run
from covidcxr.web.app import create_app

records = manifest()
model = classic_model(records)

# %% [markdown]
# ## Export: one file, the whole contract
#
# It carries labels, preprocessing, recipe and the hash of the training data. It takes grey bytes; nobody scales anything.

# %%
predictor = Predictor.load(model)
artifact = predictor.artifact
print(artifact.labels, artifact.preprocessing, artifact.data_hash[:12], artifact.intended_use, sep="\n")

# %% [markdown]
# Does the file give the same answer as Keras? The same image, both ways.

# %%
record = next(r for r in records if r.split is Split.TEST and r.source == "covid-chestxray" and r.label == "covid")
grey = read_image(record.path)
network, recipe = load_run(WORK / "classic")
keras_says = float(network.predict_on_batch(recipe.preprocessing(grey)[np.newaxis, ..., np.newaxis])[0, 0])
file_says = predictor.predict(grey).probabilities[artifact.labels[1]]
print(f"Keras {keras_says:.6f}, file {file_says:.6f}")
assert abs(keras_says - file_says) < 1e-5

# %% [markdown]
# ## The shipped model
#
# From here on we use the model that comes with the package: three classes, a map, intervals, flags and the verdict of its
# audit.

# %%
shipped = Predictor.load()
prediction = shipped.predict(grey)
print(json.dumps(prediction.to_dict("picture"), indent=1)[:1200])
if prediction.activation_map:
    display(overlay(grey, prediction.activation_map, max_side=400))

# %% [markdown]
# ## The API
#
# The web application without a network in between; `covidcxr serve` puts the same application on a port.

# %%
client = create_app(shipped).test_client()
upload = {"file": (io.BytesIO(record.path.read_bytes()), record.path.name)}
response = client.post("/api/v1/predictions", data=upload)
answer = response.get_json()
print(response.status_code, list(answer[0]))

# %% [markdown]
# The page, the command line and Python agree to the last digit, because all of them call the same function.

# %%
assert answer[0]["probabilities"] == prediction.to_dict("x")["probabilities"]
broken = client.post("/api/v1/predictions", data={"file": (io.BytesIO(b"not an image"), "x.png")})
print("a broken file:", broken.status_code, broken.get_json())

# %% [markdown]
# ## DICOM
#
# Hospitals speak DICOM. Here is the image as a modality would send it, with an invented name, and the answer as standard
# objects in the same study: a structured report, an image of the map, a presentation state.

# %%
ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid(entropy_srcs=["image"])
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=["series"])
ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Invented^Irene", "0", "", ""
ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101112", "1"
ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
ds.Modality, ds.Manufacturer, ds.BodyPartExamined, ds.ViewPosition = "CR", "nobody", "CHEST", str(record.view)
ds.SeriesNumber, ds.InstanceNumber, ds.PatientOrientation = 1, 1, ["L", "F"]
ds.Rows, ds.Columns = grey.shape
ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
ds.PixelData = grey.tobytes() + b"\0" * (grey.size % 2)
buffer = io.BytesIO()
ds.save_as(buffer, enforce_file_format=True)

received = decode_image(buffer.getvalue(), "image.dcm")
assert np.array_equal(received, grey), "Expected the same pixels from both files."
for made in results(ds, prediction, grey):
    print(f"{made.Modality:3} {made.SOPClassUID.name:45} {made.SeriesDescription}")
    assert made.StudyInstanceUID == ds.StudyInstanceUID

# %% [markdown]
# ## Questions
#
# 1. Which deployment mistakes does a contract inside the file prevent? Which does it not prevent?
# 2. The results name the study's patient. Where may they be sent, and who decides?
# 3. What would you monitor in the first month to notice that the model no longer fits the images it gets?
