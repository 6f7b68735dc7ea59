using Bert4Rec.Serialization;

namespace Bert4Rec.EventLog;

/// <summary>The files that an event log consists of.</summary>
internal static class EventLogFiles
{
    /// <summary>Folders in folders, at most: more of them are a link that leads back.</summary>
    private const int DeepestFolder = 32;

    /// <summary>
    /// The files that inputs stand for: a file is itself, a folder its .csv files, packed ones too, by name; or its .tsv files; or its
    /// .parquet files, those of the folders in it too, by their paths. Hidden files (names that begin with a point; where Spark hides
    /// them, with an underscore) are no part of the log.
    /// </summary>
    /// <exception cref="InputException">There is no such file or folder, or no log in the folder, or one of two kinds.</exception>
    public static IReadOnlyList<string> List(IReadOnlyList<string> inputs)
    {
        var files = new List<string>();
        foreach (string input in inputs)
        {
            if (Directory.Exists(input))
                files.AddRange(ListFolder(input));
            else if (File.Exists(input))
                files.Add(input);
            else
                throw new InputException($"{input}: there is no such file or folder");
        }
        if (files.GroupBy(Path.GetFullPath, UnixFile.NameComparer).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new InputException($"{twice.First()}: given twice; name every file once");
        return files;
    }

    private static string[] ListFolder(string folder)
    {
        (string Suffix, string[] Files)[] kinds = [(".csv", Named(".csv")), (".tsv", Named(".tsv")), (".parquet", [.. Parquet(folder, 0)])];
        return kinds.Where(kind => kind.Files.Length > 0).ToArray() switch
        {
            [] => throw new InputException($"{folder}: no .csv, .csv.gz, .tsv, .tsv.gz or .parquet file in this folder"),
            [var only] => only.Files,
            [var one, var other, ..] => throw new InputException(
                $"{folder}: has both {one.Suffix} and {other.Suffix} files; name those that are the log"),
        };

        string[] Named(string suffix) =>
        [
            .. Directory.GetFiles(folder).Where(path => Path.GetFileName(path)[0] != '.' && (IsCalled(path, suffix)
                || IsCalled(path, suffix + ".gz"))).Order(StringComparer.Ordinal),
        ];

        static bool IsCalled(string path, string suffix) => path.EndsWith(suffix, StringComparison.OrdinalIgnoreCase);
    }

    private static IEnumerable<string> Parquet(string folder, int depth)
    {
        if (depth > DeepestFolder)
            throw new InputException($"{folder}: more than {DeepestFolder} folders deep; is there a link that leads back?");
        foreach (string path in Directory.GetFileSystemEntries(folder).Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileName(path);
            // A column's name may begin with an underscore, and its folder then does.
            if (name[0] == '.' || (name[0] == '_' && !name.Contains('=')))
                continue;
            if (Directory.Exists(path))
            {
                foreach (string file in Parquet(path, depth + 1))
                    yield return file;
            }
            else if (ParquetInput.HasExtension(name))
            {
                yield return path;
            }
        }
    }
}
